//! The users of a file, as shards and judges ask for them. The file may change; who asks sees all of the old one or all of the new one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock},
};

use columba_broker::auth::{Known, UserVersion, Users};
use columba_proto::scram::Keys;

use super::{Attempts, Secret, UsersFile};
use crate::login::Verdict;

/// Who may log in.
#[derive(Debug)]
pub(crate) struct KnownUsers {
    now: RwLock<Arc<Snapshot>>,
    attempts: Arc<Attempts>,
    chance: RandomState,
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
        Self { now: RwLock::new(Arc::new(Snapshot::of(file, &chance))), attempts, chance }
    }

    /// The file has changed.
    pub(crate) fn replace(&self, file: &UsersFile) {
        let new = Arc::new(Snapshot::of(file, &self.chance));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this is the user's password: tens of milliseconds of work, the same for somebody who is not there, who is given the costs of one who is.
    pub(crate) fn judge(&self, user: &str, password: &[u8]) -> Verdict {
        let now = self.now();
        if let Some(&index) = now.by_name.get(user) {
            let (secret, version) = &now.users[index];
            let is_right = secret.is_of(password);
            return if is_right { Verdict::Right(Known::user(user, Some(*version))) } else { Verdict::Wrong("wrong password") };
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
    fn of(file: &UsersFile, chance: &RandomState) -> Self {
        let mut users = Vec::new();
        let mut by_name = HashMap::new();
        for (name, secret) in file.users() {
            by_name.insert(name.to_owned(), users.len());
            users.push((secret.clone(), UserVersion(chance.hash_one(secret.to_string()))));
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
            Verdict::Wrong(_) => "wrong".into(),
            Verdict::Pass => "pass".into(),
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
    fn a_file_without_users_lets_nobody_in() {
        let users = KnownUsers::new(&UsersFile::default(), Arc::default());

        assert_eq!(found(&users, "eve", "a"), "pass");
        assert_eq!(users.version("eve"), None);
    }
}
