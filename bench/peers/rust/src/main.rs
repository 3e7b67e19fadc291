//! The native peers: `ztfast-peers PEER FOLDER`, where the folder is what the generator wrote for one size.
//!
//! It speaks the JSON lines of all programs of this benchmark; see [`serve`].
mod cedar;
mod floor;
mod handwritten;
mod outcome;
mod rego;
mod serve;
mod world;
mod ztfast;

use outcome::Outcome;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn run(peer: &str, folder: &Path) -> Outcome<()> {
    match peer {
        "native-floor" => serve::serve(floor::Floor, "", floor::requests(folder)?),
        "ztfast-native" => {
            let (peer, requests) = ztfast::peer(folder)?;
            serve::serve(peer, &locked("ztfast-engine"), requests)
        }
        "rust-ids" => {
            let (peer, requests) = handwritten::by_id(folder)?;
            serve::serve(peer, "", requests)
        }
        "rust-ids-session" => {
            let (peer, requests) = handwritten::by_session(folder)?;
            serve::serve(peer, "", requests)
        }
        "rust-strings" => {
            let (peer, requests) = handwritten::by_string::<false>(folder)?;
            serve::serve(peer, "", requests)
        }
        "rust-strings-session" => {
            let (peer, requests) = handwritten::by_string::<true>(folder)?;
            serve::serve(peer, "", requests)
        }
        "cedar-policy" => {
            let (peer, requests) = cedar::peer(folder)?;
            serve::serve(peer, &locked("cedar-policy"), requests)
        }
        "regorus" => {
            let (peer, requests) = rego::interpreter(folder)?;
            serve::serve(peer, &locked("regorus"), requests)
        }
        "regorus-vm" => {
            let (peer, requests) = rego::machine(folder)?;
            serve::serve(peer, &locked("regorus"), requests)
        }
        _ => Err(format!("no native peer {peer:?}").into()),
    }
}

/// Return the version of a crate that this program was built with.
fn locked(name: &str) -> String {
    let wanted = format!("name = \"{name}\"");
    let mut lines = include_str!("../Cargo.lock").lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.unwrap_or_default().trim_matches('"').to_owned()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, folder] = arguments.as_slice() else {
        eprintln!("usage: ztfast-peers PEER FOLDER");
        return ExitCode::from(2);
    };
    match run(peer, Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{peer}: {error}");
            ExitCode::FAILURE
        }
    }
}
