//! One record as a line.

use std::fmt::Write as _;

use columba_broker::{
    durable::{GrantRecord, MessageRecord, Record, TargetRecord, WillRecord},
    id::{MessageId, SessionNo},
};
use columba_proto::Time;
use columba_server::tools::Found;
use serde_json::{Map, Value, json};

/// What a line says: where the record stands, its kind, and its fields in order.
pub(super) struct Line {
    commit: Option<u64>,
    kind: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// Kind and fields as `name=value`.
    pub(super) fn text(&self) -> String {
        let place = self.commit.map_or_else(|| "cold".to_owned(), |commit| commit.to_string());
        let mut text = format!("{place:>8}  {:<12}", self.kind);
        for (name, value) in &self.fields {
            write!(text, " {name}={value}").unwrap_or_default();
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// One object.
    pub(super) fn json(self) -> String {
        let mut object = Map::new();
        object.insert("commit".to_owned(), self.commit.into());
        object.insert("record".to_owned(), self.kind.into());
        object.extend(self.fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Object(object).to_string()
    }

    fn field(&mut self, name: &'static str, value: impl Into<Value>) {
        self.fields.push((name, value.into()));
    }

    fn flag(&mut self, name: &'static str, is_set: bool) {
        if is_set {
            self.field(name, true);
        }
    }

    fn session(&mut self, session: SessionNo) {
        let (name, who) = owner(session);
        self.field(name, who);
    }

    fn message(&mut self, id: MessageId) {
        self.field("message", id.seq());
    }

    fn time(&mut self, name: &'static str, at: Time) {
        let at = i64::try_from(at.0).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        self.field(name, at.map_or_else(|| "far away".to_owned(), |at| format!("{at:.3}")));
    }

    fn content(&mut self, message: &MessageRecord<'_>, payload: bool) {
        self.field("topic", message.topic);
        self.field("qos", message.qos as u8);
        self.flag("retain", message.retain);
        if let Some(at) = message.expires {
            self.time("expires", at);
        }
        if !message.properties.is_empty() {
            self.field("properties_bytes", message.properties.len());
        }
        self.field("payload_bytes", message.payload.len());
        if payload {
            match str::from_utf8(message.payload) {
                Ok(text) => self.field("payload", text),
                Err(_) => self.field("payload_hex", hex(message.payload)),
            }
        }
    }

    fn targets(&mut self, targets: &[TargetRecord]) {
        let all: Vec<Value> = targets.iter().map(target).collect();
        self.field("to", all);
    }

    fn will(&mut self, will: &WillRecord<'_>, payload: bool) {
        self.content(&will.message, payload);
        self.field("delay_s", will.delay);
        if let Some(expiry) = will.message_expiry {
            self.field("message_expiry_s", expiry);
        }
    }

    fn grant(&mut self, grant: &GrantRecord) {
        self.field("qos", grant.qos as u8);
        self.flag("no_local", grant.no_local);
        self.flag("retain_as_published", grant.retain_as_published);
        self.field("retain_handling", grant.retain_handling as u8);
        if grant.subscription_id > 0 {
            self.field("subscription_id", grant.subscription_id);
        }
        if let Some(newest) = grant.cursor {
            self.field("retained_up_to", newest.seq());
        }
    }
}

/// A session by its number, or a shared subscription by the hash of its filter.
fn owner(no: SessionNo) -> (&'static str, Value) {
    if no.is_group() { ("group", format!("{:016x}", no.0).into()) } else { ("session", no.seq().into()) }
}

fn target(target: &TargetRecord) -> Value {
    let mut object = Map::new();
    let (name, who) = owner(target.session);
    object.insert(name.to_owned(), who);
    object.insert("qos".to_owned(), (target.qos as u8).into());
    if target.retain {
        object.insert("retain".to_owned(), true.into());
    }
    if !target.subscription_ids.is_empty() {
        object.insert("subscription_ids".to_owned(), json!(target.subscription_ids));
    }
    Value::Object(object)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// A record in words; its payloads only on request.
pub(super) fn describe(found: &Found<'_>, payload: bool) -> Line {
    let mut line = Line { commit: found.commit, kind: "", fields: Vec::new() };
    line.kind = fields(&mut line, found.record, payload);
    if !found.clients.is_empty() {
        line.field("clients", found.clients.clone());
    }
    line
}

fn fields(line: &mut Line, record: &Record<'_>, payload: bool) -> &'static str {
    match record {
        Record::Created { session, client_id } => {
            line.session(*session);
            line.field("client_id", *client_id);
            "created"
        }
        Record::Attached { session, expiry, will } => {
            line.session(*session);
            line.field("expiry_s", *expiry);
            if let Some(will) = will {
                line.will(will, payload);
            }
            "attached"
        }
        Record::Detached { session, at, expiry, will_stands } => {
            line.session(*session);
            line.time("at", *at);
            line.field("expiry_s", *expiry);
            line.flag("will_stands", *will_stands);
            "detached"
        }
        Record::Deleted { session } => {
            line.session(*session);
            "deleted"
        }
        Record::Subscribed { session, filter, grant } => {
            line.session(*session);
            line.field("filter", *filter);
            line.grant(grant);
            "subscribed"
        }
        Record::Unsubscribed { session, filter } => {
            line.session(*session);
            line.field("filter", *filter);
            "unsubscribed"
        }
        Record::Published { id, message, targets, sets_retained, will_of } => {
            line.message(*id);
            line.content(message, payload);
            line.flag("sets_retained", *sets_retained);
            if let Some(session) = will_of {
                line.field("will_of", session.seq());
            }
            line.targets(targets);
            "published"
        }
        Record::Received { session, packet_id, message } => {
            line.session(*session);
            line.field("packet_id", packet_id.get());
            line.content(message, payload);
            "received"
        }
        Record::Released { session, packet_id, id, targets, sets_retained } => {
            line.session(*session);
            line.field("packet_id", packet_id.get());
            line.message(*id);
            line.flag("sets_retained", *sets_retained);
            line.targets(targets);
            "released"
        }
        Record::Sent { session, packet_id, message, qos } => {
            line.session(*session);
            line.field("packet_id", packet_id.get());
            line.message(*message);
            line.field("qos", *qos as u8);
            "sent"
        }
        Record::Passed { session, packet_id, message } => {
            line.session(*session);
            line.field("packet_id", packet_id.get());
            line.message(*message);
            "passed"
        }
        Record::Settled { session, packet_id, message } => {
            line.session(*session);
            line.field("packet_id", packet_id.get());
            if let Some(message) = message {
                line.message(*message);
            }
            "settled"
        }
        Record::Dropped { session, message } => {
            line.session(*session);
            line.message(*message);
            "dropped"
        }
        Record::Cursor { session, filter, after } => {
            line.session(*session);
            line.field("filter", *filter);
            line.field("after", *after);
            "cursor"
        }
        Record::WillSet { session, client_id, will } => {
            line.session(*session);
            line.field("client_id", *client_id);
            line.will(will, payload);
            "will_set"
        }
        Record::WillGone { session } => {
            line.session(*session);
            "will_gone"
        }
    }
}
