//! Files that are read again when they change, or when SIGHUP says so.
//!
//! Looked at once a second, by size, time and number: that needs nothing of the system, and works for files that are replaced, linked or mounted. A file in which
//! something is wrong changes nothing, and is named in the log once. Of a directory some files count; it has changed when one of them comes, goes or changes.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads a file and puts what it says in force, or says what is wrong with it.
type Read = Box<dyn FnMut() -> Result<(), String> + Send>;

/// The files of a directory that count.
type FilesOf = fn(&Path) -> io::Result<Vec<PathBuf>>;

/// A file to look at.
pub(crate) struct Watched {
    what: &'static str,
    path: PathBuf,
    /// Of a directory.
    files_of: Option<FilesOf>,
    seen: Option<Vec<Stamp>>,
    /// What was seen in a directory that is not as it was.
    restless: Option<Vec<Stamp>>,
    /// What stands in it now was not taken.
    refused: Arc<AtomicBool>,
    read: Read,
    is_needed: Box<dyn Fn() -> bool + Send>,
}

/// How it is with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FileState {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    /// What stands in it now was not taken; what it said before is in force.
    pub(crate) is_refused: bool,
}

/// The files that are looked at, for whoever asks how it is with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchedFiles(Arc<Mutex<Vec<Known>>>);

/// One that is dropped when nobody needs it any more.
#[derive(Debug)]
struct Known {
    what: &'static str,
    path: PathBuf,
    refused: Weak<AtomicBool>,
}

impl WatchedFiles {
    fn note(&self, files: &[Watched]) {
        let known = |file: &Watched| Known { what: file.what, path: file.path.clone(), refused: Arc::downgrade(&file.refused) };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.refused.strong_count() > 0);
        all.extend(files.iter().map(known));
    }

    /// How it is with each of them.
    pub(crate) fn now(&self) -> Vec<FileState> {
        let state = |known: &Known| {
            let is_refused = known.refused.upgrade()?.load(Ordering::Relaxed);
            Some(FileState { what: known.what, path: known.path.clone(), is_refused })
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(state).collect()
    }
}

/// Changes whenever the file does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// The thread that looks.
#[derive(Debug)]
pub(crate) struct Watch {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    files: WatchedFiles,
}

#[derive(Debug)]
enum Order {
    /// The answer says that it is done.
    Look(Sender<()>),
    Add(Vec<Watched>),
    Stop,
}

impl Watched {
    /// A file that was read just now; `what` is what the log calls it.
    pub(crate) fn new(what: &'static str, path: PathBuf, read: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let seen = stamps(&path, None);
        let (refused, read, is_needed) = (Arc::default(), Box::new(read), Box::new(|| true));
        Self { what, path, files_of: None, seen, restless: None, refused, read, is_needed }
    }

    /// The same for the files of a directory.
    pub(crate) fn directory(self, files_of: FilesOf) -> Self {
        Self { seen: stamps(&self.path, Some(files_of)), files_of: Some(files_of), ..self }
    }

    /// The same for as long as that is so.
    pub(crate) fn while_needed(self, is_needed: impl Fn() -> bool + Send + 'static) -> Self {
        Self { is_needed: Box::new(is_needed), ..self }
    }

    /// It is read together with others: what one reading says, is true of all of them.
    pub(crate) fn with(self, refused: &Arc<AtomicBool>) -> Self {
        Self { refused: Arc::clone(refused), ..self }
    }

    fn look(&mut self) {
        let now = stamps(&self.path, self.files_of);
        // A file that is gone for a moment is being replaced.
        if now.is_none() || now == self.seen {
            self.restless = None;
        } else if self.files_of.is_some() && now != self.restless {
            // What links files into a directory takes all links away first: it is read when it has held still for once.
            self.restless = now;
        } else {
            self.read_again();
        }
    }

    fn read_again(&mut self) {
        // Before it is read: what is written meanwhile is found the next time.
        self.seen = stamps(&self.path, self.files_of);
        self.restless = None;
        let read = (self.read)();
        self.refused.store(read.is_err(), Ordering::Relaxed);
        let (what, path) = (self.what, self.path.display());
        match read {
            Ok(()) => tracing::info!(what, %path, "file read again"),
            Err(error) => tracing::error!(what, %path, %error, "file not taken: what it said before stays in force"),
        }
    }
}

/// How a file is now, or the files of a directory; `None`: it is not there.
fn stamps(path: &Path, files_of: Option<FilesOf>) -> Option<Vec<Stamp>> {
    let Some(files_of) = files_of else { return Stamp::of(path).ok().map(|stamp| vec![stamp]) };
    // One that goes just now is not in it any more.
    files_of(path).ok().map(|files| files.iter().filter_map(|file| Stamp::of(file).ok()).collect())
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self { device: data.dev(), inode: data.ino(), bytes: data.size(), changed: (data.ctime(), data.ctime_nsec()) })
    }
}

impl Watch {
    /// Looks at these files from now on; without any there is no thread.
    pub(crate) fn start(files: Vec<Watched>) -> io::Result<Self> {
        Self::start_with(files, WatchedFiles::default())
    }

    fn start_with(mut files: Vec<Watched>, known: WatchedFiles) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        known.note(&files);
        if files.is_empty() {
            return Ok(Self { orders, thread: None, files: known });
        }
        let look = move || {
            loop {
                let order = inbox.recv_timeout(LOOK);
                files.retain(|file| (file.is_needed)());
                match order {
                    Ok(Order::Add(more)) => files.extend(more),
                    Ok(Order::Look(done)) => {
                        files.iter_mut().for_each(Watched::read_again);
                        // Whoever asked may not wait.
                        done.send(()).unwrap_or_default();
                    }
                    Err(RecvTimeoutError::Timeout) => files.iter_mut().for_each(Watched::look),
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("watch".into()).spawn(look)?;
        Ok(Self { orders, thread: Some(thread), files: known })
    }

    /// Looks at these, too.
    pub(crate) fn add(&mut self, files: Vec<Watched>) -> io::Result<()> {
        if self.thread.is_none() {
            *self = Self::start_with(files, self.files.clone())?;
        } else if !files.is_empty() {
            self.files.note(&files);
            self.orders.send(Order::Add(files)).unwrap_or_default();
        }
        Ok(())
    }

    /// The files that are looked at, also those that come later.
    pub(crate) fn files(&self) -> WatchedFiles {
        self.files.clone()
    }

    /// Reads all files again, changed or not, and waits until that is done.
    pub(crate) fn look_now(&self) {
        let (done, is_done) = mpsc::channel();
        if self.orders.send(Order::Look(done)).is_ok() {
            // Without an answer the thread has ended, and said so.
            is_done.recv().unwrap_or_default();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&mut self) {
        self.orders.send(Order::Stop).unwrap_or_default();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at files has ended by itself");
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    fn watched(path: &Path) -> (Watched, Receiver<String>) {
        let (sender, read) = mpsc::channel();
        let from = path.to_owned();
        let read_it = move || {
            let text = fs::read_to_string(&from).map_err(|error| error.to_string())?;
            sender.send(text.clone()).unwrap();
            if text == "bad" { Err("bad".into()) } else { Ok(()) }
        };
        (Watched::new("file", path.to_owned(), read_it), read)
    }

    #[test]
    fn a_file_is_read_again_once_for_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "first").unwrap();
        let (mut file, read) = watched(&path);
        let known = WatchedFiles::default();
        known.note(std::slice::from_ref(&file));
        let mut look = || {
            file.look();
            read.try_iter().collect::<Vec<_>>()
        };
        assert_eq!(look(), Vec::<String>::new());

        fs::write(dir.path().join("new"), "second").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(look(), ["second"]);
        assert_eq!(look(), Vec::<String>::new());
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), Vec::<String>::new(), "gone is not empty");
        assert!(!known.now()[0].is_refused);
        fs::write(&path, "bad").unwrap();
        assert_eq!(look(), ["bad"]);
        assert_eq!(look(), Vec::<String>::new(), "told once");
        assert!(known.now()[0].is_refused);
        fs::write(&path, "fourth").unwrap();
        assert_eq!(look(), ["fourth"]);
        assert!(!known.now()[0].is_refused);
    }

    #[test]
    fn a_directory_is_read_again_when_one_of_its_files_comes_goes_or_changes() {
        let dir = tempfile::tempdir().unwrap();
        let named = |path: &Path| -> io::Result<Vec<PathBuf>> {
            let mut files: Vec<_> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            files.retain(|file| file.extension().is_some_and(|ending| ending == "0"));
            files.sort();
            Ok(files)
        };
        let (a, b, other) = (dir.path().join("a.0"), dir.path().join("b.0"), dir.path().join("b.pem"));
        fs::write(&a, "a").unwrap();
        fs::write(&other, "b").unwrap();
        let (sender, read) = mpsc::channel();
        let read_it = move || sender.send(()).map_err(|error| error.to_string());
        let mut directory = Watched::new("directory", dir.path().to_owned(), read_it).directory(named);
        let mut looks = || {
            directory.look();
            let at_once = read.try_iter().count();
            directory.look();
            (at_once, read.try_iter().count())
        };
        assert_eq!(looks(), (0, 0));

        std::os::unix::fs::symlink(&other, &b).unwrap();
        assert_eq!(looks(), (0, 1), "when it has held still");
        assert_eq!(looks(), (0, 0));
        fs::write(&other, "what the link leads to is another").unwrap();
        assert_eq!(looks(), (0, 1));
        fs::remove_file(&b).unwrap();
        assert_eq!(looks(), (0, 1));
        fs::write(dir.path().join("c.pem"), "of no matter").unwrap();
        assert_eq!(looks(), (0, 0));

        fs::rename(dir.path(), dir.path().with_extension("gone")).unwrap();
        assert_eq!(looks(), (0, 0), "gone is not empty");
        fs::rename(dir.path().with_extension("gone"), dir.path()).unwrap();
        fs::remove_file(&a).unwrap();
        assert_eq!(looks(), (0, 1), "empty is");
    }

    #[test]
    fn more_files_can_come_and_are_let_go_when_nobody_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "first").unwrap();
        let mut watch = Watch::start(Vec::new()).unwrap();
        let (kept, kept_read) = watched(&path);
        let (dropped, dropped_read) = watched(&path);
        watch.add(vec![kept]).unwrap();
        watch.add(vec![dropped.while_needed(|| false)]).unwrap();

        watch.look_now();

        assert_eq!(kept_read.recv().unwrap(), "first");
        assert!(dropped_read.recv().is_err(), "it is gone, unread");
        assert_eq!(watch.files().now(), [FileState { what: "file", path: path.clone(), is_refused: false }]);
        watch.stop();
    }

    #[test]
    fn the_thread_reads_when_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "first").unwrap();
        let (file, read) = watched(&path);
        let mut watch = Watch::start(vec![file]).unwrap();

        watch.look_now();

        assert_eq!(read.recv().unwrap(), "first");
        watch.stop();
        assert!(read.recv().is_err(), "it has ended");
    }
}
