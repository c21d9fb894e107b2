//! One publication to all its receivers.

use columba_proto::QoS;
use smallvec::SmallVec;

use super::{Member, Merged, Route, SessionRef, Target};
use crate::{id::SessionNo, seam::SubscriptionIds};

impl Route {
    /// Calls `each` once for every session that gets the publication, in order of session numbers: the session, the QoS to deliver with, the RETAIN flag,
    /// the subscription identifiers, and whether a shared subscription has part in it.
    ///
    /// A session that is both an ordinary subscriber and the chosen member of a group gets one copy for all of them, as the standard allows for overlapping
    /// subscriptions (§3.3.4): one publication stands in a session's queue at most once.
    pub fn receivers(
        &self,
        publisher: Option<SessionNo>,
        publish_qos: QoS,
        publish_retain: bool,
        mut each: impl FnMut(&SessionRef, QoS, bool, &SubscriptionIds, bool),
    ) {
        let mut deliver = |session: &SessionRef, grant: &Merged, shared: bool| {
            // Downgraded to what was granted, never raised [MQTT-3.8.4-8]; RETAIN only as published where asked for [MQTT-3.3.1-12] [MQTT-3.3.1-13].
            each(
                session,
                publish_qos.min(grant.qos),
                publish_retain && grant.retain_as_published,
                &grant.ids,
                shared,
            );
        };
        let mut chosen: SmallVec<[&Member; 4]> = self
            .groups
            .iter()
            .filter_map(|group| group.choose(publisher))
            .collect();
        chosen.sort_by_key(|member| member.session.no);
        let mut chosen = chosen
            .chunk_by(|a, b| a.session.no == b.session.no)
            .peekable();

        for target in &self.targets {
            while let Some(before) = chosen.next_if(|run| run[0].session.no < target.session.no) {
                deliver(&before[0].session, &through_groups(before), true);
            }
            let plain = target.for_publisher(publisher);
            match (
                plain,
                chosen.next_if(|run| run[0].session.no == target.session.no),
            ) {
                (Some(grant), None) => deliver(&target.session, grant, false),
                (None, None) => {}
                (plain, Some(run)) => {
                    let mut grant = through_groups(run);
                    if let Some(plain) = plain {
                        grant.add(plain);
                    }
                    deliver(&target.session, &grant, true);
                }
            }
        }
        for run in chosen {
            deliver(&run[0].session, &through_groups(run), true);
        }
    }
}

impl Target {
    /// No Local keeps a client's own publications from it [MQTT-3.8.3-3].
    fn for_publisher(&self, publisher: Option<SessionNo>) -> Option<&Merged> {
        if publisher == Some(self.session.no) {
            self.own.as_ref()
        } else {
            Some(&self.grant)
        }
    }
}

fn through_groups(run: &[&Member]) -> Merged {
    let mut grant = Merged::from(&run[0].grant);
    for member in &run[1..] {
        grant.add(&Merged::from(&member.grant));
    }
    grant
}
