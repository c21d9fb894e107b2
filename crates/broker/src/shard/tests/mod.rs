mod attacks;
mod bench;
mod exactly_once;
mod failed_journal;
mod flow;
mod qos2_faults;
mod requests;
mod sessions;
