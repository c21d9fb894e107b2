//! What is lost: found by folding what can be read as if the rest had been set aside, in memory only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use columba_broker::{
    durable::{Loss, Mender, Record, State, recover_within},
    id::{MessageId, SessionNo},
};
use columba_store::{Cold as _, FjallCold, RealDisk, StoreDir, Survey, Surveyed, log::Harm};

use super::{
    Affected, Damage, LostCommits,
    named::{guess, of_record},
};
use crate::{cold::ColdKeys, error::RecoverError, replay::records};

/// The names of sessions, also of those that have ended since.
type Names = BTreeMap<SessionNo, Box<str>>;

/// Looks at the whole journal of a directory; `cause` is why it cannot be used.
pub(crate) fn diagnose(dir: &StoreDir, cold: &FjallCold, cause: String) -> Result<Damage, RecoverError> {
    let survey = dir.survey_journal(cold.position())?;
    let keys = ColdKeys(cold);
    let mut mender = Mender::new(recover_within(&keys, 0)?);
    let mut names: Names = mender.state().sessions.values().map(|it| (it.no, it.client_id.clone())).collect();
    survey.replay(&mut |found| {
        match found {
            Surveyed::Gap(_) => mender.gap(),
            Surveyed::Frame(frame) => {
                records(&frame, |record| {
                    if let Record::Created { session, client_id } = record {
                        names.insert(*session, (*client_id).into());
                    }
                    mender.record(record, &mut |_: &Record<'_>| Ok::<_, RecoverError>(()))
                })?;
                mender.end_of_commit();
            }
        }
        Ok::<_, RecoverError>(())
    })?;
    let (state, loss) = mender.finish(&keys, &mut |_: &Record<'_>| Ok::<_, RecoverError>(()))?;
    describe(dir.path(), cause, &survey, &state, &loss, &names)
}

fn describe(
    dir: &Path,
    cause: String,
    survey: &Survey<RealDisk>,
    state: &State,
    loss: &Loss,
    names: &Names,
) -> Result<Damage, RecoverError> {
    let mut sessions: BTreeMap<Box<str>, Affected> = BTreeMap::new();
    let mut unknown: BTreeSet<u64> = loss.unknown_sessions.iter().map(|session| session.seq()).collect();
    let mut all_named = survey.wounds().iter().all(|wound| wound.what != Harm::Missing);
    for wound in survey.wounds().iter().filter(|_| !survey.gaps().is_empty()) {
        all_named &= guess(&survey.bytes(wound)?, &mut |record| {
            if let Record::Created { session, client_id } = record
                && !names.contains_key(session)
            {
                unknown.remove(&session.seq());
                sessions.entry((*client_id).into()).or_default().say("a session of it began in what is lost".to_owned());
            }
            of_record(record, &mut |session, message| {
                // What has ended since lacks nothing.
                let client = names.get(&session).filter(|_| state.sessions.contains_key(&session));
                if let Some(affected) = client.map(|client| sessions.entry(client.clone()).or_default()) {
                    match message {
                        Some(message) => affected.message(message.seq()),
                        None => affected.say("a change of it is lost".to_owned()),
                    }
                }
            });
        });
    }
    for (session, client) in &loss.ended_sessions {
        let what = format!("its session {} ended in what is lost", session.seq());
        sessions.entry(client.clone()).or_default().say(what);
    }
    for (message, targets) in &loss.lost_messages {
        for client in targets.iter().filter_map(|session| names.get(session)) {
            sessions.entry(client.clone()).or_default().message(message.seq());
        }
    }
    for (client, packet_id, topic) in &loss.doubtful_messages {
        let what = format!(
            "the message that it sent as {} at QoS 2, topic {topic:?}, is dropped: it may have been handed on in what is lost",
            packet_id.get()
        );
        sessions.entry(client.clone()).or_default().say(what);
    }
    let numbers = |(before, behind): &(MessageId, Option<MessageId>)| {
        (before.seq() + 1, behind.map(|behind| behind.seq().saturating_sub(1)))
    };
    let gaps = survey.gaps().iter().zip(&loss.identities);
    Ok(Damage {
        dir: dir.to_owned(),
        cause,
        wounds: survey.wounds().to_vec(),
        gaps: gaps.map(|(gap, identities)| LostCommits { gap: *gap, numbers: numbers(identities) }).collect(),
        sessions,
        unknown_sessions: unknown.into_iter().collect(),
        readable: survey.readable(),
        all_named,
    })
}
