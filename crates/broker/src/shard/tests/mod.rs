mod attacks;
mod bench;
mod exactly_once;
mod flow;
mod qos2_faults;
mod requests;
mod sessions;
