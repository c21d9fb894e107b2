//! Commands that lead on where a broker does not start: what was typed, with what has to change.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::config::{Host, ListenAddress, Sources};

/// What listens in the next try.
enum Listening<'a> {
    /// As it was.
    Same,
    /// This address, in the place of those that `is_meant` says of; the only one, where it was not typed.
    Other { address: &'a dyn Fn(&ListenAddress) -> ListenAddress, is_meant: &'a dyn Fn(&ListenAddress) -> bool, else_: String },
}

/// Others reach `listener`, and nobody said that they may.
pub(crate) fn from_reachable(asked: &Sources, listener: &ListenAddress) -> Vec<String> {
    // A listener of a file stays there: the others beside it are wanted, too.
    let same = || match asked {
        Sources { listen, file: None, .. } if listen.is_empty() => {
            Listening::Other { address: &ListenAddress::clone, is_meant: &|_| false, else_: listener.to_string() }
        }
        _ => Listening::Same,
    };
    let local = on_this_machine(listener).to_string();
    let here = Listening::Other { address: &on_this_machine, is_meant: &|one| one == listener, else_: local };
    vec![
        format!("{}   # this machine only", again(asked, &here, &[])),
        format!("{USER_ADD} && {}   # by user name and password", again(asked, &same(), USERS)),
        format!("{}   # anyone on the network may connect", again(asked, &same(), &["--allow-anonymous"])),
    ]
}

/// Who does not log in is refused, and nobody can log in.
pub(crate) fn from_nobody(asked: &Sources) -> Vec<String> {
    vec![format!("{USER_ADD} && {}   # by user name and password", again(asked, &Listening::Same, USERS))]
}

/// Somebody else listens at `address`.
pub(crate) fn from_taken(asked: &Sources, address: SocketAddr) -> Vec<String> {
    let is_meant = |one: &ListenAddress| matches!(one, ListenAddress::Net { port, .. } if *port == address.port());
    let free =
        Listening::Other { address: &on_a_free_port, is_meant: &is_meant, else_: SocketAddr::new(address.ip(), 0).to_string() };
    vec![format!("{}   # a free port", again(asked, &free, &[]))]
}

/// What is stored is damaged; `dir` is the data directory, where that is known.
pub(crate) fn from_damage(asked: &Sources, dir: Option<&str>) -> Vec<String> {
    let again = accepting_loss(asked, dir);
    vec![
        "columba store import FILE NEW-DIR   # restores a backup".to_owned(),
        format!("{again}   # keeps the damaged files aside and starts without what is lost"),
    ]
}

/// The certificates of a directory have no names by which they would be looked for.
pub(crate) fn from_unnamed(directory: &Path) -> Vec<String> {
    vec![format!("openssl rehash {}   # links each certificate under its name", quoted(&directory.display().to_string()))]
}

/// The same broker, which may set damaged files aside.
pub(crate) fn accepting_loss(asked: &Sources, dir: Option<&str>) -> String {
    match dir {
        // Neither the words nor a file of theirs say which.
        Some(dir) if asked.data_dir.is_none() && asked.file.is_none() => {
            again(asked, &Listening::Same, &["--data-dir", dir, "--accept-loss"])
        }
        Some(_) | None => again(asked, &Listening::Same, &["--accept-loss"]),
    }
}

const USER_ADD: &str = "columba user add NAME --file users";
const USERS: &[&str] = &["--set", "auth.password.file=users"];

/// `columba serve` as it was typed, and more.
fn again(asked: &Sources, listening: &Listening<'_>, more: &[&str]) -> String {
    let Sources { file, env: _, set, listen, cert, key, http, data_dir, ephemeral, allow_anonymous } = asked;
    let path = |path: &PathBuf| path.display().to_string();
    let listen = listen.iter().map(|text| match (listening, text.parse::<ListenAddress>()) {
        (Listening::Other { address, is_meant, .. }, Ok(one)) if is_meant(&one) => address(&one).to_string(),
        (Listening::Other { .. } | Listening::Same, _) => text.clone(),
    });
    let only = match listening {
        Listening::Other { else_, .. } if listen.len() == 0 => Some(else_.clone()),
        Listening::Other { .. } | Listening::Same => None,
    };
    let mut words: Vec<String> = vec!["columba".into(), "serve".into()];
    words.extend(option("-c", file.iter().map(path)));
    words.extend(option("--data-dir", data_dir.iter().map(path)));
    words.extend(option("--http", http.clone()));
    words.extend(option("--set", set.clone()));
    words.extend(option("--listen", listen.chain(only)));
    words.extend(option("--cert", cert.iter().map(path)));
    words.extend(option("--key", key.iter().map(path)));
    words.extend(ephemeral.then(|| "--ephemeral".to_owned()));
    words.extend(allow_anonymous.then(|| "--allow-anonymous".to_owned()));
    words.extend(more.iter().map(|&word| word.to_owned()));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The option in front of each of its values.
fn option(name: &str, values: impl IntoIterator<Item = String>) -> impl Iterator<Item = String> {
    values.into_iter().flat_map(move |value| [name.to_owned(), value])
}

/// A word that any shell takes as it stands: `*` and brackets are patterns, and zsh ends with an error where nothing matches.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-./:,=@%+".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The same, but nobody else reaches it.
fn on_this_machine(listener: &ListenAddress) -> ListenAddress {
    match listener {
        ListenAddress::Net { scheme, host: _, port } => ListenAddress::Net { scheme: *scheme, host: Host::Local, port: *port },
        ListenAddress::Unix(_) => listener.clone(),
    }
}

/// The same at a port that the system chooses.
fn on_a_free_port(listener: &ListenAddress) -> ListenAddress {
    match listener {
        ListenAddress::Net { scheme, host, port: _ } => ListenAddress::Net { scheme: *scheme, host: host.clone(), port: 0 },
        ListenAddress::Unix(_) => listener.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_typed_again() {
        let typed = Sources {
            file: Some("my broker.toml".into()),
            set: vec!["limits.inflight=5".into()],
            listen: vec!["mqtts://*:8883".into(), "localhost:1884".into()],
            cert: Some("cert.pem".into()),
            key: Some("key.pem".into()),
            ephemeral: true,
            ..Sources::default()
        };
        let start = "columba serve -c 'my broker.toml' --set limits.inflight=5";
        let end = "--listen localhost:1884 --cert cert.pem --key key.pem --ephemeral";

        let tries = from_reachable(&typed, &"mqtts://*:8883".parse().unwrap());
        assert_eq!(tries[0], format!("{start} --listen mqtts://localhost:8883 {end}   # this machine only"));
        assert_eq!(
            tries[1],
            format!(
                "{USER_ADD} && {start} --listen 'mqtts://*:8883' {end} --set auth.password.file=users   # by user name and password"
            )
        );
        assert_eq!(
            tries[2],
            format!("{start} --listen 'mqtts://*:8883' {end} --allow-anonymous   # anyone on the network may connect")
        );
        let taken = from_taken(&typed, "[::]:8883".parse().unwrap());
        assert_eq!(taken, [format!("{start} --listen 'mqtts://*:0' {end}   # a free port")]);
    }

    #[test]
    fn listeners_of_a_file_stay_there() {
        let typed = Sources { file: Some("columba.toml".into()), ..Sources::default() };

        let tries = from_reachable(&typed, &"*:1883".parse().unwrap());
        assert_eq!(tries[0], "columba serve -c columba.toml --listen localhost:1883   # this machine only");
        assert_eq!(tries[2], "columba serve -c columba.toml --allow-anonymous   # anyone on the network may connect");
        let taken = from_taken(&typed, "127.0.0.1:1883".parse().unwrap());
        assert_eq!(taken, ["columba serve -c columba.toml --listen 127.0.0.1:0   # a free port"]);
        assert_eq!(accepting_loss(&typed, Some("/srv/data")), "columba serve -c columba.toml --accept-loss");
    }

    #[test]
    fn where_nothing_was_typed_the_words_are_whole() {
        let tries = from_reachable(&Sources::default(), &"*:1883".parse().unwrap());
        assert_eq!(tries[2], "columba serve --listen '*:1883' --allow-anonymous   # anyone on the network may connect");
        assert_eq!(accepting_loss(&Sources::default(), Some("it's")), r"columba serve --data-dir 'it'\''s' --accept-loss");
    }
}
