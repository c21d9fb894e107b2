//! `columba store` as a process: what it says of a data directory, and that a copy of one serves the same.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

/// What a command that has ended has left.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn columba(words: &[&str]) -> Said {
    columba_with_input(words, "")
}

fn columba_with_input(words: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
    command.args(words).env_remove("COLUMBA_URL").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that has refused to start reads nothing.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A broker on a data directory; it is killed without a word.
struct Broker {
    process: Child,
    port: String,
}

impl Broker {
    fn start(dir: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_columba"))
            .args(["serve", "--http", "off", "--listen", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines
            .find_map(|line| line.unwrap().split_whitespace().find_map(|word| word.strip_prefix("mqtt://").map(str::to_owned)));
        let port = url.unwrap().rsplit(':').next().unwrap().to_owned();
        Self { process, port }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn run(&self, words: &[&str], input: &str) -> Said {
        let words = [&words[..1], &["-p", &self.port], &words[1..]].concat();
        columba_with_input(&words, input)
    }

    fn subscribed(&self, client: &str, filter: &str) {
        let said = self.run(&["sub", "-c", "-i", client, "-q", "2", "-t", filter, "-E"], "");
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    fn published(&self, words: &[&str], input: &str) {
        let said = self.run(&[&["pub", "-q", "2"], words].concat(), input);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// All that waits for a client.
    fn received(&self, client: &str, filter: &str, count: usize) -> Vec<String> {
        let count = count.to_string();
        let said = self.run(&["sub", "-c", "-i", client, "-q", "2", "-t", filter, "-C", &count, "-W", "60"], "");
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out.lines().map(str::to_owned).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Where a test has failed; else it is gone already.
        self.process.kill().unwrap_or_default();
        self.process.wait().unwrap();
    }
}

fn lines(range: std::ops::Range<u64>) -> (Vec<String>, String) {
    let lines: Vec<String> = range.map(|number| format!("line {number}")).collect();
    let text = lines.join("\n") + "\n";
    (lines, text)
}

/// A directory of a broker that was killed, with two sessions' messages and a retained one; some in the cold store, some in the journal only.
fn filled(temp: &Path) -> (PathBuf, Vec<String>) {
    let dir = temp.join("data");
    let (expected, _) = lines(0..300);
    let broker = Broker::start(&dir);
    broker.subscribed("keeper", "plant/#");
    broker.subscribed("other", "plant/+");
    broker.published(&["-r", "plant/state", "open"], "");
    broker.published(&["-t", "plant/log", "-l"], &lines(0..150).1);
    // A clean stop takes everything into the cold store.
    let pid = broker.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut broker = broker;
    assert!(broker.process.wait().unwrap().success());
    let broker = Broker::start(&dir);
    broker.published(&["-t", "plant/log", "-l"], &lines(150..300).1);
    broker.kill();
    (dir, [&["open".to_owned()][..], &expected[..]].concat())
}

fn serves(dir: &Path, expected: &[String]) {
    let broker = Broker::start(dir);
    for (client, filter) in [("keeper", "plant/#"), ("other", "plant/+")] {
        assert_eq!(broker.received(client, filter, expected.len()), expected, "{client}");
    }
    let retained = broker.run(&["sub", "-t", "plant/state", "-C", "1", "-W", "60"], "");
    assert_eq!(retained.out, "open\n", "{retained:?}");
    broker.kill();
}

#[test]
fn an_export_imported_anew_serves_everything() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, expected) = filled(temp.path());
    let (file, copy) = (temp.path().join("data.columba"), temp.path().join("copy"));
    let (dir, file, copy) = (dir.to_str().unwrap(), file.to_str().unwrap(), copy.to_str().unwrap());

    let exported = columba(&["store", "export", dir, file]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let imported = columba(&["store", "import", file, copy]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(imported.out.contains("2 sessions, 1 retained message, as of 20"), "{imported:?}");

    assert_eq!(columba(&["store", "check", copy]).code, Some(0));
    serves(Path::new(copy), &expected);
    // The original is as it was.
    serves(Path::new(dir), &expected);
}

#[test]
fn nothing_is_overwritten_and_a_damaged_export_makes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, _) = filled(temp.path());
    let (file, copy) = (temp.path().join("data.columba"), temp.path().join("copy"));
    let words = |words: &[&Path]| -> Vec<String> { words.iter().map(|word| word.display().to_string()).collect() };
    let run = |verb: &str, paths: &[&Path]| {
        let paths = words(paths);
        columba(&[&["store", verb], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    };
    assert_eq!(run("export", &[&dir, &file]).code, Some(0));

    let again = run("export", &[&dir, &file]);
    assert!(again.code == Some(1) && again.err.contains("exists"), "{again:?}");
    let over = run("import", &[&file, &dir]);
    assert!(over.code == Some(1) && over.err.contains("is not empty"), "{over:?}");

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let damaged = temp.path().join("damaged.columba");
    fs::write(&damaged, &bytes).unwrap();
    let refused = run("import", &[&damaged, &copy]);
    assert!(refused.code == Some(1) && refused.err.contains("the export is damaged at byte"), "{refused:?}");
    fs::write(&damaged, &fs::read(&file).unwrap()[..middle]).unwrap();
    let refused = run("import", &[&damaged, &copy]);
    assert!(refused.err.contains("it is not complete"), "{refused:?}");
    assert!(!copy.exists());
}

#[test]
fn check_stats_and_dump_say_what_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, expected) = filled(temp.path());
    let dir = dir.to_str().unwrap();

    let checked = columba(&["store", "check", dir]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.starts_with(&format!("{dir}: whole\n  cold store  2 sessions, 2 subscriptions, ")), "{checked:?}");
    let checked: Value = serde_json::from_str(&columba(&["store", "check", dir, "--format", "json"]).out).unwrap();
    assert_eq!(checked["whole"], true);

    let stats: Value = serde_json::from_str(&columba(&["store", "stats", dir, "--format", "json"]).out).unwrap();
    let waiting = 2 * expected.len();
    assert_eq!((stats["sessions"].clone(), stats["queued"].clone()), (2.into(), waiting.into()));
    assert_eq!((stats["retained"].clone(), stats["queues"][0]["messages"].clone()), (1.into(), expected.len().into()));
    let stats = columba(&["store", "stats", dir]);
    assert!(stats.out.contains("longest queues") && stats.out.contains("\"keeper\"  301 messages"), "{stats:?}");

    let dumped = columba(&["store", "dump", dir, "--topic", "plant/log", "--payload"]);
    assert_eq!(dumped.code, Some(0), "{dumped:?}");
    let count = |text: &str| dumped.out.lines().filter(|line| line.contains(text)).count();
    // Beside both entries of the cold store, and once in the journal.
    assert_eq!((count("payload=\"line 7\""), count("payload=\"line 299\"")), (2, 1), "{}", dumped.out);
    let of_one = columba(&["store", "dump", dir, "--session", "other", "--format", "json"]);
    let created =
        of_one.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|line| line["record"] == "created");
    assert_eq!(created.unwrap()["client_id"], "other");
}

#[test]
fn damage_is_an_exit_status_of_its_own_and_names_the_sessions() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, expected) = filled(temp.path());
    let mut segments: Vec<_> = fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    segments.sort();
    // A message in the middle of what only the journal has.
    let file = segments.pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"line 170").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let path = dir.to_str().unwrap();

    let checked = columba(&["store", "check", path]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for part in ["damaged", "lost: commit", "session \"keeper\": message", "session \"other\": message", "--accept-loss"] {
        assert!(checked.out.contains(part), "{part}: {checked:?}");
    }
    let exported = columba(&["store", "export", path, temp.path().join("x").to_str().unwrap()]);
    assert!(exported.code == Some(1) && exported.err.contains("try: columba serve"), "{exported:?}");
    let refused = columba(&["serve", "--http", "off", "--listen", "127.0.0.1:0", "--data-dir", path]);
    assert!(refused.code == Some(1) && refused.err.contains("session \"keeper\": message"), "{refused:?}");

    let mut accepted = Command::new(env!("CARGO_BIN_EXE_columba"))
        .args(["serve", "--http", "off", "--listen", "127.0.0.1:0", "--data-dir", path, "--accept-loss"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(accepted.stdout.take().unwrap()).read_line(&mut first).unwrap();
    accepted.kill().unwrap();
    accepted.wait().unwrap();
    assert!(first.contains("2 sessions"), "{first}");
    assert!(fs::read_to_string(dir.join("damaged/1/report.txt")).unwrap().contains("session \"keeper\""));
    assert_eq!(columba(&["store", "check", path]).code, Some(0));
    let stats: Value = serde_json::from_str(&columba(&["store", "stats", path, "--format", "json"]).out).unwrap();
    let waiting = stats["queues"].as_array().unwrap().iter().find(|queue| queue["client_id"] == "keeper").unwrap();
    let count = usize::try_from(waiting["messages"].as_u64().unwrap()).unwrap();
    let broker = Broker::start(&dir);
    let found = broker.received("keeper", "plant/#", count);
    // The commit had several messages, and others were half-way through their exchange.
    let missing: Vec<usize> = (0..expected.len()).filter(|at| !found.contains(&expected[*at])).collect();
    assert!(missing.contains(&171) && missing.iter().all(|at| (130..212).contains(at)), "{missing:?}");
}

#[test]
fn what_is_not_there_or_in_use_is_told_from_damage() {
    let temp = tempfile::tempdir().unwrap();
    let nothing = columba(&["store", "check", temp.path().to_str().unwrap()]);
    assert!(nothing.code == Some(2) && nothing.err.contains("no data directory"), "{nothing:?}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "looking makes nothing");

    let dir = temp.path().join("data");
    let broker = Broker::start(&dir);
    let path = dir.to_str().unwrap();
    let used = columba(&["store", "check", path]);
    let by = format!("in use by process {}", broker.process.id());
    assert!(used.code == Some(2) && used.err.contains(&by) && used.err.contains("columba store backup"), "{used:?}");
    broker.kill();

    let stopped = columba(&["store", "backup", path, temp.path().join("x").to_str().unwrap()]);
    assert!(stopped.code == Some(1) && stopped.err.contains("no broker runs on"), "{stopped:?}");
    assert!(stopped.err.contains("try: columba store export"), "{stopped:?}");
}

#[test]
fn a_backup_under_load_has_everything_acknowledged_before_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let broker = Broker::start(&dir);
    broker.subscribed("keeper", "load/#");
    let (acknowledged, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = {
        let (acknowledged, ended, port) = (Arc::clone(&acknowledged), Arc::clone(&ended), broker.port.clone());
        thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let from = acknowledged.load(Ordering::SeqCst);
                let said = columba_with_input(&["pub", "-p", &port, "-q", "1", "-t", "load/x", "-l"], &lines(from..from + 200).1);
                if said.code != Some(0) {
                    return;
                }
                acknowledged.store(from + 200, Ordering::SeqCst);
            }
        })
    };
    while acknowledged.load(Ordering::SeqCst) < 600 {
        thread::sleep(Duration::from_millis(20));
    }

    let before = acknowledged.load(Ordering::SeqCst);
    let file = temp.path().join("backup.columba");
    let said = columba(&["store", "backup", dir.to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    broker.kill();
    ended.store(true, Ordering::SeqCst);
    publisher.join().unwrap();

    let copy = temp.path().join("copy");
    let imported = columba(&["store", "import", file.to_str().unwrap(), copy.to_str().unwrap()]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let restored = Broker::start(&copy);
    let count = usize::try_from(before).unwrap();
    assert_eq!(restored.received("keeper", "load/#", count), lines(0..before).0);
}
