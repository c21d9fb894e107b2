//! A broker whose power is cut.

use std::net::SocketAddr;

use super::storm::Victim;
use crate::broker::Broker;
use crate::load::Peer;
use crate::loopdisk::LoopDisk;

/// A broker with its data on a disk of its own. It goes down together with the disk.
#[derive(Debug)]
pub struct OnLoopDisk {
    // In this order: a disk in use cannot be unmounted.
    broker: Broker,
    disk: LoopDisk,
}

impl OnLoopDisk {
    /// Starts `program serve` with its data on `disk`, and `extra` words on its command line.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(program: &str, extra: &[&str], disk: LoopDisk) -> Self {
        let peer = Peer::columba(program, extra).with_data_in(disk.path());
        Self { broker: Broker::of(peer), disk }
    }
}

impl Victim for OnLoopDisk {
    fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    /// A sync that runs while the disk goes may say that all is well although it is not: what a client hears from then on is of a machine that
    /// is already dead, and in the real world would not have reached it.
    fn crash(&mut self, deafen: &dyn Fn()) {
        deafen();
        self.disk.cut_power();
        self.broker.kill();
        self.disk.remount();
        self.broker.restart();
    }
}
