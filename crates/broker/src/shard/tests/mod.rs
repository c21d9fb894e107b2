mod bench;
mod exactly_once;
mod flow;
mod sessions;
