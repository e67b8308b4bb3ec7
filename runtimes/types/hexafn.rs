//! What hexaFn offers to functions in Rust beside standard input and output: imports of the module `hexafn`.
#![allow(dead_code)]

#[link(wasm_import_module = "hexafn")]
unsafe extern "C" {
    #[link_name = "log"]
    fn host_log(level: i32, text: *const u8, length: usize);
    #[link_name = "emit"]
    fn host_emit(
        topic: *const u8,
        topic_length: usize,
        key: *const u8,
        key_length: usize,
        data: *const u8,
        data_length: usize,
    );
    #[link_name = "now_ms"]
    fn host_now_ms() -> i64;
}

/// How much a log line matters.
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes a log line. What is written to standard error is logged, too, as a warning.
pub fn log(level: Level, text: &str) {
    // SAFETY: the host reads the text during the call, and keeps nothing of it.
    unsafe { host_log(level as i32, text.as_ptr(), text.len()) }
}

/// Sends an event to a topic of the setting `emit`, when the function ends well. `data` is JSON.
pub fn emit(topic: &str, key: Option<&str>, data: &str) {
    let key = key.unwrap_or_default();
    // SAFETY: as for `log`.
    unsafe { host_emit(topic.as_ptr(), topic.len(), key.as_ptr(), key.len(), data.as_ptr(), data.len()) }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    // SAFETY: it takes and leaves a number.
    unsafe { host_now_ms() }
}
