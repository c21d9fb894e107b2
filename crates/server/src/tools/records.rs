//! All that a data directory or an export says, record by record.

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use columba_broker::{
    durable::{self, Record},
    id::SessionNo,
};
use columba_proto::{TopicName, topic};
use columba_store::{ColdRead as _, ExportReader, Surveyed};

use super::{Offline, ToolError};
use crate::{cold::ColdKeys, damage::of_record, replay::records};

/// A record and where it stands.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its commit in the journal or in the export; `None`: it stands for what the cold store holds.
    pub commit: Option<u64>,
    /// What it says.
    pub record: &'a Record<'a>,
    /// The client identifiers of the sessions that it names, as far as they are known.
    pub clients: Vec<&'a str>,
}

/// Which records to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those that name this client's sessions.
    pub client: Option<String>,
    /// Only those of messages whose topics this filter matches, and of subscriptions that are the same.
    pub topic: Option<String>,
}

/// Shows the records of a data directory, those of the cold store first, or of an export.
pub fn dump(path: &Path, filter: &Filter, show: &mut dyn FnMut(&Found<'_>) -> Result<(), ToolError>) -> Result<(), ToolError> {
    let mut shown = Shown { filter, names: BTreeMap::new(), show };
    if path.is_file() {
        return of_export(path, &mut shown);
    }
    let offline = Offline::open(path)?;
    let survey = offline.whole_journal()?;
    let snapshot = offline.cold.snapshot()?;
    durable::export(&ColdKeys(&*snapshot), &mut |record| shown.record(None, record))?;
    survey.replay(&mut |found| match found {
        Surveyed::Frame(frame) => records(&frame, |record| shown.record(Some(frame.commit.0), record)),
        Surveyed::Gap(_) => Ok(()),
    })
}

fn of_export(path: &Path, shown: &mut Shown<'_, '_>) -> Result<(), ToolError> {
    let file = File::open(path).map_err(ToolError::file("open", path))?;
    let broken = |error| ToolError::Export { file: path.display().to_string(), error };
    let mut reader = ExportReader::new(BufReader::new(file)).map_err(broken)?;
    let mut commit = 0;
    while let Some(parts) = reader.next_commit().map_err(broken)? {
        commit += 1;
        for (_, mut bytes) in parts {
            while !bytes.is_empty() {
                shown.record(Some(commit), &Record::decode(&mut bytes)?)?;
            }
        }
    }
    Ok(())
}

struct Shown<'f, 's> {
    filter: &'f Filter,
    names: BTreeMap<SessionNo, Box<str>>,
    show: &'s mut dyn FnMut(&Found<'_>) -> Result<(), ToolError>,
}

impl Shown<'_, '_> {
    fn record(&mut self, commit: Option<u64>, record: &Record<'_>) -> Result<(), ToolError> {
        if let Record::Created { session, client_id } | Record::WillSet { session, client_id, .. } = record {
            self.names.insert(*session, (*client_id).into());
        }
        let mut clients: Vec<&str> = Vec::new();
        of_record(record, &mut |session, _| {
            if let Some(name) = self.names.get(&session)
                && !clients.contains(&&**name)
            {
                clients.push(name);
            }
        });
        let is_client = self.filter.client.as_ref().is_none_or(|client| clients.contains(&client.as_str()));
        let is_topic = self.filter.topic.as_ref().is_none_or(|filter| has_topic(record, filter));
        if is_client && is_topic {
            (self.show)(&Found { commit, record, clients })?;
        }
        Ok(())
    }
}

fn has_topic(record: &Record<'_>, filter: &str) -> bool {
    let matches = |name: &str| TopicName::new(name).is_ok_and(|name| topic::matches(filter, name));
    match record {
        Record::Published { message, .. } | Record::Received { message, .. } => matches(message.topic),
        Record::WillSet { will, .. } | Record::Attached { will: Some(will), .. } => matches(will.message.topic),
        Record::Subscribed { filter: subscribed, .. }
        | Record::Unsubscribed { filter: subscribed, .. }
        | Record::Cursor { filter: subscribed, .. } => *subscribed == filter,
        Record::Created { .. }
        | Record::Attached { will: None, .. }
        | Record::Detached { .. }
        | Record::Deleted { .. }
        | Record::Released { .. }
        | Record::Sent { .. }
        | Record::Passed { .. }
        | Record::Settled { .. }
        | Record::Dropped { .. }
        | Record::WillGone { .. } => false,
    }
}
