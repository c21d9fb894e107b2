//! What a client may do, asked at each of its steps (docs/security.md).

use alloc::{boxed::Box, string::ToString, sync::Arc};
use core::net::SocketAddr;

use columba_proto::{AckKind, PacketId, ReasonCode};

use super::{Shard, own_topics::is_own};
use crate::{
    access::{Acl, Denied, DeniedPublish, OWN_RULES, Permissions, Subject},
    auth::Known,
    connection::Connection,
    event::{DropReason, Event},
    hold::Frame,
    id::{ChangeSeq, ConnectionId},
    seam::Cx,
};

/// Why a client may not publish somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forbidden {
    /// The topic is one of the broker's own (§4.7.2).
    Own,
    /// A rule denies it, or none allows it.
    ByRule(Denied),
    /// The payload is longer than is taken here.
    Large,
}

/// Whether there are rules that something may have to be looked up in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rules {
    /// None, for nobody: everything may be done, and nothing is looked up.
    None,
    /// Some, for all or for one.
    Some,
}

impl Rules {
    pub(super) fn of(are_some: bool) -> Self {
        if are_some { Self::Some } else { Self::None }
    }

    /// Once there are some it is looked whether there are.
    fn join(&mut self, are_more: bool) {
        if are_more {
            *self = Self::Some;
        }
    }
}

impl Shard {
    /// Other rules hold from now on, also for those who are connected. Subscriptions stay; what comes by them is looked at anew.
    pub fn set_acl(&mut self, acl: Option<Arc<Acl>>) {
        self.rules.join(acl.is_some());
        self.acl = acl;
        let ids: alloc::vec::Vec<_> = self.connections.ids().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let peer = connection.origin.peer.clone();
            let Some(open) = connection.open() else { continue };
            let client_id = Arc::clone(&self.sessions[open.session as usize].client_id);
            let known = open.login.as_ref().map(|login| &login.known);
            let access = permissions(self.acl.as_ref(), &client_id, known, &peer);
            open.access = access;
        }
    }

    /// What somebody may do who connects like this; `None` where there are no rules.
    pub(super) fn access_of(&mut self, id: ConnectionId, client_id: &str, known: Option<&Known>) -> Option<Box<Permissions>> {
        let peer = self.connections.get(id).map_or("", |connection| &*connection.origin.peer);
        let access = permissions(self.acl.as_ref(), client_id, known, peer);
        self.rules.join(access.is_some());
        access
    }

    /// Why this client may not publish this there, if so.
    #[inline]
    pub(super) fn forbidden(&mut self, id: ConnectionId, topic: &str, payload: &[u8]) -> Option<Forbidden> {
        if is_own(topic) {
            return Some(Forbidden::Own);
        }
        if payload.len() > self.config.max_payload {
            return Some(Forbidden::Large);
        }
        // Without rules everything may be done, and nothing is looked up.
        if self.rules == Rules::None {
            return None;
        }
        let access = self.connections.get_mut(id)?.open()?.access.as_mut()?;
        access.may_publish(topic).err().map(Forbidden::ByRule)
    }

    /// A publication that its client may not make is dropped, and by configuration its client goes.
    pub(super) fn drop_forbidden(&mut self, cx: &Cx<'_>, id: ConnectionId, topic: &str, why: Forbidden) {
        let Some(slot) = self.session_of(id) else { return };
        match why {
            Forbidden::Own => self.dropped(cx, slot as usize, DropReason::NotAuthorized),
            Forbidden::Large => self.dropped(cx, slot as usize, DropReason::PayloadTooLarge),
            Forbidden::ByRule(denied) => {
                self.count_denied(cx, slot, topic, denied);
                if self.config.denied_publish == DeniedPublish::Disconnect {
                    let why = self.not_allowed(denied);
                    self.fail(cx, id, ReasonCode::NOT_AUTHORIZED, &why);
                }
            }
        }
    }

    /// Told once a second for each client.
    pub(super) fn count_denied(&mut self, cx: &Cx<'_>, slot: u32, topic: &str, denied: Denied) {
        let client_id = Arc::clone(&self.sessions[slot as usize].client_id);
        if !self.drops.contains_key(&(Arc::clone(&client_id), DropReason::NotAuthorized)) {
            let rule = self.rule(denied).into();
            self.event(Event::Denied { client_id: Box::from(&*client_id), topic: topic.into(), rule });
        }
        self.dropped(cx, slot as usize, DropReason::NotAuthorized);
    }

    /// The same with an answer: an MQTT 5 client hears that it may not, an older one cannot be told and is answered as if it had been taken.
    pub(super) fn refuse_forbidden(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        topic: &str,
        why: Forbidden,
    ) {
        self.drop_forbidden(cx, id, topic, why);
        // A 3.x client goes on with PUBREL, and the identifier is as good as forgotten: PUBCOMP.
        let frame = match why {
            Forbidden::Own => Frame::Ack { kind, id: packet_id, reason: ReasonCode::NOT_AUTHORIZED },
            Forbidden::Large => Frame::Ack { kind, id: packet_id, reason: ReasonCode::QUOTA_EXCEEDED },
            Forbidden::ByRule(denied) => Frame::Denied { kind, id: packet_id, denied },
        };
        self.send(cx, id, ChangeSeq(0), frame);
    }

    /// Whether a message with this topic may go to this client.
    pub(super) fn may_receive(connection: &mut Connection, topic: &str) -> bool {
        let access = connection.open().and_then(|open| open.access.as_mut());
        access.is_none_or(|access| access.may_receive(topic).is_ok())
    }

    /// Whether this client may have this subscription; else, why not.
    pub(super) fn may_subscribe(&mut self, id: ConnectionId, filter: &str) -> Result<(), Denied> {
        let open = self.connections.get_mut(id).and_then(Connection::open);
        open.and_then(|open| open.access.as_ref()).map_or(Ok(()), |access| access.may_subscribe(filter))
    }

    pub(super) fn rule(&self, denied: Denied) -> &str {
        match &self.acl {
            _ if denied.is_by_own_rules() => OWN_RULES,
            Some(acl) => acl.name_of(denied),
            None => "no rule allows it",
        }
    }

    /// What the client is told.
    pub(super) fn not_allowed(&self, denied: Denied) -> alloc::string::String {
        "not allowed: ".to_string() + self.rule(denied)
    }
}

/// Without rules everything may be done; who has some of its own, and no other, may do what they allow.
fn permissions(acl: Option<&Arc<Acl>>, client_id: &str, known: Option<&Known>, peer: &str) -> Option<Box<Permissions>> {
    let own = known.and_then(|known| known.rules.clone());
    let nothing = || own.is_some().then(Arc::<Acl>::default);
    let acl = acl.cloned().or_else(nothing)?;
    let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
    let subject = Subject { client_id, user: known.map(|known| &*known.user), address };
    Some(Box::new(acl.permissions(subject).with_own(own)))
}
