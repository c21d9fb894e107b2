//! Who may come in, by what, and what they may do: what the configuration says of it, with the files and services that it names. Read at the start, and again
//! where a reload says something else.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use columba_broker::{
    access::Acl,
    auth::{Login, Users},
};
use columba_proto::scram::Secret;

use crate::{
    acl,
    config::{Access, Config, Listener},
    core::{Mail, Shared},
    error::StartError,
    listen,
    login::{self, Asked, Fetched, Methods, Tokens},
    users::{Attempts, KnownUsers, UsersFile},
    watch::Watched,
};

/// What is in force, or is about to be.
#[derive(Debug)]
pub(crate) struct Policy {
    /// By what clients show who they are.
    pub(crate) methods: Arc<Methods>,
    /// What they may do, as the file said when it was read; `None`: everything.
    pub(crate) rules: Option<Rules>,
}

/// What stands in an ACL file.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) acl: Arc<Acl>,
    /// Gone when another file, or none, has taken its place.
    in_force: Arc<()>,
}

/// What there was before.
#[derive(Clone, Copy)]
struct Before<'a> {
    policy: &'a Policy,
    config: &'a Config,
}

impl Policy {
    /// Reads everything that the configuration names, and looks that its listeners let in whoever they are meant for and nobody else.
    pub(crate) fn read(config: &Config, attempts: &Arc<Attempts>) -> Result<Self, StartError> {
        Self::read_after(None, config, attempts)
    }

    /// What holds under another configuration than `now`; nothing of it is in force yet. What the next one does not change is not read again: it goes on with
    /// what it has learned since.
    pub(crate) fn next(&self, now: &Config, next: &Config, attempts: &Arc<Attempts>) -> Result<Self, StartError> {
        Self::read_after(Some(Before { policy: self, config: now }), next, attempts)
    }

    fn read_after(before: Option<Before<'_>>, config: &Config, attempts: &Arc<Attempts>) -> Result<Self, StartError> {
        let methods = methods(before, config, attempts)?;
        check_access(&config.listeners, config.access, &methods)?;
        let rules = if let Some(before) = before.filter(|before| before.config.acl_file == config.acl_file) {
            before.policy.rules.clone()
        } else {
            let read = |path: &Path| acl::read(path).map(|acl| Rules { acl: Arc::new(acl), in_force: Arc::default() });
            config.acl_file.as_deref().map(read).transpose()?
        };
        Ok(Self { methods, rules })
    }

    /// The keys of tokens behind a URL, where there are any.
    pub(crate) fn key_set(&self) -> Option<Arc<Fetched>> {
        self.methods.fetched().cloned()
    }

    /// What the shards know of the ways to log in; `None`: there is none. Its doors are still to be opened.
    pub(crate) fn login(&self, secret: Arc<Secret>, attempts: &Arc<Attempts>) -> Option<Login> {
        if self.methods.is_empty() {
            return None;
        }
        let users: Arc<dyn Users> = match &self.methods.users {
            Some(users) => Arc::clone(users) as Arc<dyn Users>,
            None => Arc::new(KnownUsers::new(&UsersFile::default(), Arc::clone(attempts))),
        };
        Some(Login { users, secret, doors: Vec::new() })
    }

    /// Whether these are other rules than those, in place of what their file says by now.
    pub(crate) fn has_other_rules_than(&self, other: &Self) -> bool {
        let [ours, theirs] = [self, other].map(|policy| policy.rules.as_ref().map(|rules| &rules.in_force));
        !is_the_same(theirs, ours)
    }

    /// The files to look at that `before` did not have, as long as they are in force.
    pub(crate) fn watched(&self, config: &Config, before: Option<&Self>, shared: &Arc<Shared>) -> Vec<Watched> {
        let mut watched = Vec::new();
        let was = before.map(|before| &before.methods);
        if let (Some(users), Some(path)) = (&self.methods.users, &config.password_file)
            && !is_the_same(was.and_then(|was| was.users.as_ref()), Some(users))
        {
            watched.push(watch_users(path, users, Arc::downgrade(shared)));
        }
        if let Some(tokens) = &self.methods.tokens
            && !is_the_same(was.and_then(|was| was.tokens.as_ref()), Some(tokens))
        {
            watched.extend(login::watched(tokens));
        }
        if let (Some(rules), Some(path)) = (&self.rules, &config.acl_file)
            && before.is_none_or(|before| self.has_other_rules_than(before))
        {
            watched.push(watch_rules(path, rules, Arc::downgrade(shared)));
        }
        watched
    }
}

fn methods(before: Option<Before<'_>>, config: &Config, attempts: &Arc<Attempts>) -> Result<Arc<Methods>, StartError> {
    let same = |is_same: fn(&Config, &Config) -> bool| before.filter(|before| is_same(before.config, config));
    let is_same_file =
        |now: &Config, next: &Config| (&now.password_file, now.password_upgrade) == (&next.password_file, next.password_upgrade);
    let users = if let Some(before) = same(is_same_file) {
        before.policy.methods.users.clone()
    } else {
        let was = before.and_then(|before| before.policy.methods.users.as_deref());
        config.password_file.as_deref().map(|path| known_users(path, config, was, attempts)).transpose()?
    };
    let tokens = match same(|now, next| now.auth.jwt == next.auth.jwt) {
        Some(before) => before.policy.methods.tokens.clone(),
        None => Tokens::open(&config.auth.jwt, Fetched::new(&config.auth.jwt)?)?,
    };
    let asked = match same(|now, next| now.auth.http == next.auth.http) {
        Some(before) => before.policy.methods.asked.clone(),
        None => Asked::new(&config.auth.http)?,
    };
    if let Some(before) = same(|now, next| (now.access, &now.auth) == (next.access, &next.auth))
        && is_the_same(before.policy.methods.users.as_ref(), users.as_ref())
    {
        return Ok(Arc::clone(&before.policy.methods));
    }
    Ok(Arc::new(Methods::new(config, users, tokens, asked)?))
}

/// Not an equal one: the same; two times none is the same, too.
fn is_the_same<T>(before: Option<&Arc<T>>, now: Option<&Arc<T>>) -> bool {
    before.map(Arc::as_ptr) == now.map(Arc::as_ptr)
}

/// Refuses to let in nobody at all, and whoever reaches a listener where that is not wanted.
fn check_access(listeners: &[Listener], access: Access, methods: &Methods) -> Result<(), StartError> {
    methods.check_all(listeners)?;
    let lets_in = |listener: &Listener| listener.names_its_users() || listener.auth.is_some();
    match (!methods.is_empty(), access) {
        (false, Access::Users) if !listeners.iter().all(lets_in) => Err(StartError::NobodyMayConnect),
        (false, Access::ThisMachine | Access::Anyone) => listen::check_reach(listeners, access),
        // Everybody shows a certificate, or logs in.
        (false, Access::Users) | (true, _) => Ok(()),
    }
}

/// Who may log in. Those who are in both files are the same users as before, and stay connected.
fn known_users(
    path: &Path,
    config: &Config,
    was: Option<&KnownUsers>,
    attempts: &Arc<Attempts>,
) -> Result<Arc<KnownUsers>, StartError> {
    let file = UsersFile::read(path)?;
    let users = match was {
        Some(was) => was.followed_by(&file),
        None => KnownUsers::new(&file, Arc::clone(attempts)),
    };
    Ok(Arc::new(if config.password_upgrade { users.upgrading(path.to_owned()) } else { users }))
}

/// The ACL file, and what happens when it has changed.
fn watch_rules(path: &Path, rules: &Rules, shared: Weak<Shared>) -> Watched {
    let from = path.to_owned();
    let (in_force, read_for) = (Arc::downgrade(&rules.in_force), Arc::downgrade(&rules.in_force));
    let read = move || {
        let acl = Arc::new(acl::read(&from).map_err(|error| error.to_string())?);
        // Another file may have come in its place meanwhile.
        if let (Some(_), Some(shared)) = (read_for.upgrade(), shared.upgrade()) {
            for shard in 0..shared.mesh.len() {
                shared.mesh.post_one(shard, Mail::Acl(Some(Arc::clone(&acl))));
            }
        }
        Ok(())
    };
    Watched::new("ACL file", path.to_owned(), read).while_needed(move || in_force.strong_count() > 0)
}

/// The users file, and what happens when it has changed.
fn watch_users(path: &Path, users: &Arc<KnownUsers>, shared: Weak<Shared>) -> Watched {
    let path = path.to_owned();
    let (users, needed) = (Arc::downgrade(users), Arc::downgrade(users));
    let read = {
        let path = path.clone();
        move || {
            let file = UsersFile::read(&path).map_err(|error| error.to_string())?;
            if let Some(users) = users.upgrade() {
                users.replace(&file);
            }
            if let Some(shared) = shared.upgrade() {
                for shard in 0..shared.mesh.len() {
                    shared.mesh.post_one(shard, Mail::UsersChanged);
                }
            }
            Ok(())
        }
    };
    Watched::new("users file", path, read).while_needed(move || needed.strong_count() > 0)
}
