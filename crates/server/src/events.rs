//! What the brain tells, as log lines.

use columba_broker::event::{DropReason, Event};

use crate::users::{Attempts, Told};

/// Writes one line; payloads never. `names` says what listeners are called.
pub(crate) fn tell<'n>(event: &Event, attempts: &Attempts, names: impl FnOnce(u16) -> &'n str) {
    match event {
        Event::Connected { client_id, user, peer, listener, version, resumed } => {
            let session = if *resumed { "resumed" } else { "new" };
            let (user, listener) = (user.as_deref(), names(*listener));
            tracing::info!(%client_id, user, %peer, listener, v = version.level(), session, "client connected");
        }
        Event::Refused { peer, client_id, why, reason } => {
            let client_id = client_id.as_deref().unwrap_or_default();
            tracing::info!(client_id, %peer, reason = &**why, reason_code = reason.get(), "connection refused");
        }
        Event::Denied { client_id, topic, rule } => {
            tracing::warn!(%client_id, topic = &**topic, rule = &**rule, "publication denied");
        }
        Event::SubscriptionDenied { client_id, filter, rule } => {
            tracing::warn!(%client_id, filter = &**filter, rule = &**rule, "subscription denied");
        }
        Event::LoginFailed { peer, client_id, user, why } => {
            let client_id = client_id.as_deref().unwrap_or_default();
            match attempts.wrong(peer, user) {
                Told::Now => tracing::warn!(client_id, user = &**user, %peer, reason = *why, "login failed"),
                Told::Later => tracing::debug!(client_id, user = &**user, %peer, reason = *why, "login failed"),
            }
        }
        Event::Disconnected { client_id, user, peer, listener, why, reason, after_ms } => {
            let (user, listener, reason_code, duration_ms) = (user.as_deref(), names(*listener), reason.get(), *after_ms);
            tracing::info!(%client_id, user, %peer, listener, reason = &**why, reason_code, duration_ms, "client disconnected");
        }
        Event::Dropped { client_id, reason, count } => {
            let reason = match reason {
                DropReason::SlowConsumer => "the client does not read",
                DropReason::BeyondRate => "the client is sent as much as limits.bytes_out and limits.messages_out allow",
                DropReason::Expired => "the message expired",
                DropReason::TooLarge => "larger than the client's maximum packet size",
                DropReason::Purged => "an administrator has emptied its queue",
                DropReason::PayloadTooLarge => "its payload is longer than limits.max_payload",
                DropReason::NotForReader => "the client may not receive it",
                DropReason::Refused => "the client refused it",
                DropReason::SessionEnded => "its session ended",
                DropReason::QueueFull => {
                    // It was acknowledged, and somebody chose that it may be lost.
                    tracing::warn!(%client_id, reason = "its queue is full", count = *count, "messages dropped");
                    return;
                }
                DropReason::NotAuthorized => {
                    // MQTT 3.x cannot tell its client.
                    tracing::warn!(%client_id, reason = "the client may not publish there", count = *count, "messages dropped");
                    return;
                }
                DropReason::Unstorable => "cannot be stored; not acknowledged",
            };
            tracing::debug!(%client_id, reason, count = *count, "messages dropped");
        }
        Event::Fight { client_id, old_peer, new_peer } => {
            tracing::warn!(%client_id, %old_peer, %new_peer, "clients fight for one identifier: every client needs its own");
        }
        Event::Banned { client_id, peer, for_ms } => {
            tracing::warn!(%client_id, %peer, for_ms = *for_ms, "client banned: it connects too often");
        }
        Event::Expired { client_id } => tracing::info!(%client_id, "session expired"),
    }
}
