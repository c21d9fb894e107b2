#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| columba_check::fuzz::websocket(data));
