//! Whose files may be trusted: what is refused, and what is said to a user who may not.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Say why a file is refused: others than its user could have made it or may change it. One that is only read may be
/// another user's, if it is of a group that was named.
///
/// # Errors
/// Why it is refused, and what to do.
pub fn check_owner(about: &Metadata, reads_only: bool, group: Option<u32>) -> Result<(), String> {
    let user = effective_user();
    if about.mode() & 0o022 != 0 {
        return Err(format!(
            "others than its owner may write here (mode {:o}), and could forge sessions: chmod go-w",
            about.mode() & 0o7777
        ));
    }
    if about.uid() == user || about.uid() == 0 && user != 0 {
        return Ok(());
    }
    if !reads_only {
        return check_user(about.uid());
    }
    match group {
        Some(group) if about.gid() == group => Ok(()),
        Some(group) => Err(format!("it belongs to group {}, and {group} was named", about.gid())),
        None => Err(format!(
            "it belongs to user {}, and this process runs as {}: name the group that both trust (state_group=, --group)",
            named(about.uid()),
            named(user)
        )),
    }
}

/// Say why another user than a file's may not change it. A group may only read: whatever is named, the file of owners
/// is for one user.
pub(crate) fn check_user(owner: u32) -> Result<(), String> {
    if owner == effective_user() {
        return Ok(());
    }
    Err(format!("only user {} may change this state: run this as that user", named(owner)))
}

pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Return the number of a user, and the name where the machine's own list has one.
fn named(user: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == user.to_string()).then_some(name)
    });
    name.map_or_else(|| user.to_string(), |name| format!("{user} ({name})"))
}
