mod attacks;
mod bench;
mod exactly_once;
mod flow;
mod requests;
mod sessions;
