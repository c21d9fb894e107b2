//! The users of a file, as shards and judges ask for them. The file may change; who asks sees all of the old one or all of the new one.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use columba_broker::auth::{Known, UserVersion, Users, Way};
use columba_proto::scram::Keys;

use super::{Attempts, Kind, Secret, UsersFile};
use crate::login::Verdict;

/// Who may log in.
#[derive(Debug)]
pub(crate) struct KnownUsers {
    now: RwLock<Arc<Snapshot>>,
    attempts: Arc<Attempts>,
    chance: RandomState,
    /// The file, where hashes in it may be replaced by better ones.
    upgraded: Option<PathBuf>,
    /// Secrets that have replaced others of the same password, by their hash: their users are still those that they were.
    kept: Mutex<HashMap<u64, UserVersion>>,
    has_told: AtomicBool,
}

/// What a file said.
#[derive(Debug)]
struct Snapshot {
    users: Vec<(Secret, UserVersion)>,
    by_name: HashMap<String, usize>,
}

impl KnownUsers {
    pub(crate) fn new(file: &UsersFile, attempts: Arc<Attempts>) -> Self {
        let chance = RandomState::new();
        let now = RwLock::new(Arc::new(Snapshot::of(file, &chance, &HashMap::new())));
        Self { now, attempts, chance, upgraded: None, kept: Mutex::default(), has_told: AtomicBool::new(false) }
    }

    /// The same where hashes of mosquitto's are replaced in the file at the next login.
    pub(crate) fn upgrading(self, path: PathBuf) -> Self {
        Self { upgraded: Some(path), ..self }
    }

    /// Who may log in by another file: whoever is in both with the same secret is the same user.
    pub(crate) fn followed_by(&self, file: &UsersFile) -> Self {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = RwLock::new(Arc::new(Snapshot::of(file, &self.chance, &kept)));
        let (attempts, chance) = (Arc::clone(&self.attempts), self.chance.clone());
        Self { now, attempts, chance, upgraded: None, kept: Mutex::new(kept), has_told: AtomicBool::new(false) }
    }

    /// The file has changed.
    pub(crate) fn replace(&self, file: &UsersFile) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(Snapshot::of(file, &self.chance, &kept));
        let still_there: HashSet<u64> = new.users.iter().map(|(secret, _)| self.chance.hash_one(secret.to_string())).collect();
        kept.retain(|hash, _| still_there.contains(hash));
        drop(kept);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A user has logged in with this password: where what is kept in its place is easy to guess from, something better takes its place in the file. As long again as a
    /// login, so the client has its answer before.
    pub(crate) fn upgrade(&self, user: &str, password: &[u8]) {
        let (Some(path), Ok(password)) = (&self.upgraded, str::from_utf8(password)) else { return };
        let Some((old, version)) = self.now().get(user).filter(|(secret, _)| secret.is_outdated()).cloned() else { return };
        let salt = [self.chance.hash_one(user), RandomState::new().hash_one(user)].map(u64::to_ne_bytes).concat();
        let Ok(salt) = <[u8; 16]>::try_from(salt) else { return };
        let Ok(new) = Secret::derive(Kind::Argon2id, password, salt) else { return };
        let hash = self.chance.hash_one(new.to_string());
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, version);
        match UsersFile::exchange(path, user, &old, new) {
            Ok(true) => tracing::info!(user, "password kept by argon2id from now on"),
            Err(error) if !self.has_told.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "a better hash of a password cannot be written; the old one stays");
            }
            // Another password, another judge was first, or it has been told.
            Ok(false) | Err(_) => {}
        }
    }

    /// Whether this is the user's password: tens of milliseconds of work, the same for somebody who is not there, who is given the costs of one who is.
    pub(crate) fn judge(&self, user: &str, password: &[u8]) -> Verdict {
        let now = self.now();
        if let Some(&index) = now.by_name.get(user) {
            let (secret, version) = &now.users[index];
            let is_right = secret.is_of(password);
            return if is_right {
                Verdict::Right(Known::user(user, Way::Password, Some(*version)))
            } else {
                Verdict::Wrong(Way::Password, "wrong password")
            };
        }
        if !now.users.is_empty() {
            // One name is always held against the same secret, and another start against another.
            let index = self.chance.hash_one(user) % now.users.len() as u64;
            let (secret, _) = &now.users[usize::try_from(index).unwrap_or(0)];
            std::hint::black_box(secret.is_of(password));
        }
        Verdict::Pass
    }
}

impl Snapshot {
    fn of(file: &UsersFile, chance: &RandomState, kept: &HashMap<u64, UserVersion>) -> Self {
        let mut users = Vec::new();
        let mut by_name = HashMap::new();
        for (name, secret) in file.users() {
            by_name.insert(name.to_owned(), users.len());
            let hash = chance.hash_one(secret.to_string());
            users.push((secret.clone(), kept.get(&hash).copied().unwrap_or(UserVersion(hash))));
        }
        Self { users, by_name }
    }

    fn get(&self, user: &str) -> Option<&(Secret, UserVersion)> {
        self.by_name.get(user).map(|&index| &self.users[index])
    }
}

impl Users for KnownUsers {
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        self.now().get(user)?.0.scram_keys().cloned()
    }

    fn version(&self, user: &str) -> Option<UserVersion> {
        self.now().get(user).map(|(_, version)| *version)
    }

    fn may_try(&self, peer: &str, user: &str) -> bool {
        self.attempts.may_try(peer, user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Kind;

    fn file(users: &[(&str, &str)]) -> UsersFile {
        let mut file = UsersFile::default();
        for (name, password) in users {
            file.set(name, Secret::derive(Kind::Sha512, password, [1; 16]).unwrap()).unwrap();
        }
        file
    }

    fn found(users: &KnownUsers, user: &str, password: &str) -> String {
        match users.judge(user, password.as_bytes()) {
            Verdict::Right(known) if *known.user == *user => format!("right {:?}", known.version.unwrap()),
            Verdict::Right(known) => panic!("{known:?}"),
            Verdict::Wrong(..) => "wrong".into(),
            Verdict::Pass => "pass".into(),
            Verdict::Unreachable => panic!("it is a file"),
        }
    }

    #[test]
    fn only_the_users_own_password_is_right_and_a_change_makes_another_version() {
        let users = KnownUsers::new(&file(&[("eve", "a"), ("bob", "b")]), Arc::default());
        let version = |user| users.version(user);
        let (eve, bob) = (version("eve").unwrap(), version("bob").unwrap());
        assert_eq!(found(&users, "eve", "a"), format!("right {eve:?}"));
        for (user, password, expected) in
            [("eve", "b", "wrong"), ("bob", "a", "wrong"), ("mallory", "a", "pass"), ("mallory", "b", "pass"), ("", "", "pass")]
        {
            assert_eq!(found(&users, user, password), expected, "{user} {password}");
        }

        users.replace(&file(&[("eve", "c"), ("bob", "b"), ("new", "n")]));

        assert_ne!(version("eve"), Some(eve));
        assert_eq!(version("bob"), Some(bob), "who has not changed stays as it was");
        assert_eq!(found(&users, "eve", "a"), "wrong");
        assert!(found(&users, "new", "n").starts_with("right"));
    }

    #[test]
    fn a_login_makes_a_better_hash_and_the_user_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let mut file = file(&[("eve", "a"), ("bob", "b")]);
        file.set("old", Secret::derive(Kind::Pbkdf2Sha512, "o", [1; 16]).unwrap()).unwrap();
        file.write(&path).unwrap();
        let users = KnownUsers::new(&file, Arc::default()).upgrading(path.clone());
        let kinds = || UsersFile::read(&path).unwrap().users().map(|(_, secret)| secret.kind_name()).collect::<Vec<_>>();
        let versions = || ["eve", "bob", "old"].map(|user| users.version(user).unwrap());
        let before = versions();

        users.upgrade("eve", b"a");
        users.upgrade("old", b"o");
        assert_eq!(kinds(), ["argon2id", "sha512", "argon2id"]);
        users.replace(&UsersFile::read(&path).unwrap());

        assert_eq!(versions(), before, "nobody is sent away");
        assert!(found(&users, "eve", "a").starts_with("right") && found(&users, "eve", "b") == "wrong");
        let written = std::fs::read(&path).unwrap();
        users.upgrade("eve", b"a");
        users.upgrade("mallory", b"a");
        assert_eq!(std::fs::read(&path).unwrap(), written, "once is enough");

        let mut changed = UsersFile::read(&path).unwrap();
        changed.set("eve", Secret::derive(Kind::Argon2id, "c", [2; 16]).unwrap()).unwrap();
        users.replace(&changed);
        assert_ne!(versions()[0], before[0], "another password is another version");
    }

    #[test]
    fn a_file_without_users_lets_nobody_in() {
        let users = KnownUsers::new(&UsersFile::default(), Arc::default());

        assert_eq!(found(&users, "eve", "a"), "pass");
        assert_eq!(users.version("eve"), None);
    }
}
