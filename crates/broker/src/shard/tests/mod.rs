mod bench;
mod sessions;
mod exactly_once;
mod flow;
