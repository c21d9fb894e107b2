//! Who looks at passwords where there is no server around the brain.

use columba_broker::auth::{Answer, Known, Login, Question, Way};

/// The world's answer: the password is that of the user's SCRAM keys, or it is wrong.
pub(crate) fn judge(login: Option<&Login>, question: &Question) -> Answer {
    let right = || {
        let users = &login?.users;
        let password = core::str::from_utf8(&question.password).ok()?;
        users.scram_keys(&question.user).filter(|keys| keys.are_of(password))?;
        Some(Known::user(question.user.clone(), Way::Password, Some(users.version(&question.user)?)))
    };
    right().map_or(Answer::Wrong(Way::Password, "guessed"), Answer::Right)
}
