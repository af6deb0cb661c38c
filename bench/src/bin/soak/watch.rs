//! What llm-proxy holds: memory, descriptors, threads, read from /proc (Linux only).

/// Resident memory.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

pub(crate) fn threads(pid: u32) -> u64 {
    status(pid, "Threads:")
}

pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
