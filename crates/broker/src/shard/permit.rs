//! What a client may do, asked at each of its steps (docs/security.md).

use alloc::{boxed::Box, string::ToString, sync::Arc};
use core::net::SocketAddr;

use columba_proto::{AckKind, PacketId, ReasonCode};

use super::{Shard, own_topics::is_own};
use crate::{
    access::{Acl, Denied, DeniedPublish, Permissions, Subject},
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
}

impl Shard {
    /// Other rules hold from now on, also for those who are connected. Subscriptions stay; what comes by them is looked at anew.
    pub fn set_acl(&mut self, acl: Option<Arc<Acl>>) {
        self.acl = acl;
        let ids: alloc::vec::Vec<_> = self.connections.ids().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let peer = connection.origin.peer.clone();
            let Some(open) = connection.open() else { continue };
            let client_id = Arc::clone(&self.sessions[open.session as usize].client_id);
            let user = open.login.as_ref().map(|login| &*login.user);
            let access = self.acl.as_ref().map(|acl| Box::new(permissions(acl, &client_id, user, &peer)));
            open.access = access;
        }
    }

    /// What somebody may do who connects like this; `None` where there are no rules.
    pub(super) fn access_of(&self, id: ConnectionId, client_id: &str, user: Option<&str>) -> Option<Box<Permissions>> {
        let acl = self.acl.as_ref()?;
        let peer = self.connections.get(id).map_or("", |connection| &*connection.origin.peer);
        Some(Box::new(permissions(acl, client_id, user, peer)))
    }

    /// Why this client may not publish there, if so.
    #[inline]
    pub(super) fn forbidden(&mut self, id: ConnectionId, topic: &str) -> Option<Forbidden> {
        if is_own(topic) {
            return Some(Forbidden::Own);
        }
        // Without rules everything may be done, and nothing is looked up.
        self.acl.as_ref()?;
        let access = self.connections.get_mut(id)?.open()?.access.as_mut()?;
        access.may_publish(topic).err().map(Forbidden::ByRule)
    }

    /// A publication that its client may not make is dropped, and by configuration its client goes.
    pub(super) fn drop_forbidden(&mut self, cx: &Cx<'_>, id: ConnectionId, topic: &str, why: Forbidden) {
        let Some(slot) = self.session_of(id) else { return };
        match why {
            Forbidden::Own => self.dropped(cx, slot as usize, DropReason::NotAuthorized),
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
        self.acl.as_ref().map_or("other rules", |acl| acl.name_of(denied))
    }

    /// What the client is told.
    pub(super) fn not_allowed(&self, denied: Denied) -> alloc::string::String {
        "not allowed: ".to_string() + self.rule(denied)
    }
}

fn permissions(acl: &Arc<Acl>, client_id: &str, user: Option<&str>, peer: &str) -> Permissions {
    let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
    acl.permissions(Subject { client_id, user, address })
}
