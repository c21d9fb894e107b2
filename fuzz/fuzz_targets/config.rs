#![no_main]

use columba_check::fuzz;
use columba_server::Config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config(data, Config::parse));
