//! SIGTERM and SIGINT: the first asks for a stop, the second is obeyed at once. SIGHUP: files are read again. SIGUSR1: a checkpoint is written. SIGUSR2: the log
//! says how it is going.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    flag,
    iterator::Signals,
};

use crate::server::Word;

/// The exit code of a process that was told twice.
const IMPATIENT: i32 = 1;

/// Sends a [`Word`] for each signal.
pub(crate) fn listen(words: Sender<Word>) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up.
        flag::register_conditional_shutdown(signal, IMPATIENT, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let wait = move || {
        for signal in signals.forever() {
            let word = match signal {
                SIGHUP => Word::Reload,
                SIGUSR1 => Word::Checkpoint,
                SIGUSR2 => Word::Tell,
                _ => Word::Stop,
            };
            if words.send(word).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(wait)?;
    Ok(())
}
