//! What a state refuses, and what its processes see.

use super::files::hash;
use super::parts::Header;
use super::*;
use crate::numbers::{Handle, Place};
use crate::proof::Proof;
use crate::register::{MAX_UID, NoPlace};
use crate::sessions::{AdmitError, Known, Notice, Sessions};
use crate::slot::{Admission, SessionId, SessionStatus};
use rustix::fs::Mode;
use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::AtomicU32 as Counter;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};
use ztfast_codes::Code;

/// A directory of this test's own, which is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: Counter = Counter::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ztfast-state-{}-{number}", std::process::id())))
    }

    fn open(&self, role: Role) -> Result<State, StateError> {
        let capacity = Some(Capacity { sessions: 8, uids: 64 });
        State::open(&self.0, role, capacity, (None, None), None, Clock::Coarse, Residence::default())
    }

    fn authority(&self) -> Sessions {
        Sessions::of(Arc::new(self.open(Role::Authority).unwrap()))
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn why(&self) -> String {
        self.open(Role::Authority).map(|_| ()).unwrap_err().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ENDLESS: Admission = Admission { principal: Handle(0), not_before_ns: 0, not_after_ns: i64::MAX };

fn admit(sessions: &Sessions, place: usize) -> SessionId {
    sessions.admit(Place(place), &ENDLESS).unwrap()
}

fn now_ns() -> i64 {
    ztfast_pages::monotonic_ns()
}

#[test]
fn what_one_process_admits_and_revokes_the_others_see() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let reader = Sessions::of(Arc::new(folder.open(Role::Decide).unwrap()));
    let ids = [admit(&first, 3), admit(&second, 4)];
    for sessions in [&first, &second, &reader] {
        assert_eq!(ids.map(|id| sessions.valid(id, now_ns())), [Some(Place(3)), Some(Place(4))]);
        assert_eq!(sessions.all().len(), 2);
    }
    assert!(first.set(ids[1], SessionStatus::Revoked) && second.set(ids[0], SessionStatus::Quarantined));
    for sessions in [&first, &second, &reader] {
        assert_eq!(ids.map(|id| sessions.valid(id, now_ns())), [None, None]);
    }
    assert!(!reader.set(ids[0], SessionStatus::Active), "a process that only decides changed a session");
    assert_eq!(reader.admit(Place(1), &ENDLESS), Err(AdmitError::MayNotAdmit));
}

#[test]
fn a_uid_has_one_number_in_all_processes() {
    let folder = Folder::new();
    let states = [Role::Authority, Role::Authority, Role::Decide].map(|role| folder.open(role).unwrap());
    let uids = states.each_ref().map(|state| state.uids().unwrap());
    let names: Vec<(String, String)> = (0..20).map(|n| (format!("T{}", n % 3), format!("é{n}"))).collect();
    let places: Vec<usize> = names.iter().map(|(ty, id)| uids[names.len() % 2].register(ty, id).unwrap()).collect();
    for uids in uids {
        for ((ty, id), &place) in names.iter().zip(&places) {
            assert_eq!((uids.find(ty, id), uids.get(place)), (Some(place), Some((&**ty, &**id))));
        }
        assert_eq!(
            (uids.find("T0", "x"), uids.get(20), uids.get(64), uids.in_use().uids),
            (None, None, None, (20, 64))
        );
    }
    assert_eq!(uids[2].register("T0", "x"), Err(NoPlace::ReadOnly), "a process that only decides gave a uid a number");
    let full: Vec<_> = (0..64).map_while(|n| uids[0].register("New", &n.to_string()).ok()).collect();
    assert_eq!((full.len(), uids[1].register("New", "65")), (44, Err(NoPlace::Full)));
    assert_eq!(uids[1].register("New", "7"), Ok(full[7]));
}

#[test]
fn writers_that_name_the_same_uids_at_once_agree() {
    let folder = Folder::new();
    let state = folder.open(Role::Authority).unwrap();
    let uids = state.uids().unwrap();
    let place = |n: usize| uids.register("T", &n.to_string()).ok();
    let found: Vec<Vec<Option<usize>>> = std::thread::scope(|threads| {
        let all = [(); 4].map(|()| threads.spawn(|| (0..12).map(place).collect()));
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|places| *places == found[0] && places.iter().all(Option::is_some)), "{found:?}");
}

#[test]
fn a_full_table_refuses_at_once_and_knows_when_another_process_ends_a_session() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let ids: Vec<SessionId> = (0..8).map(|place| admit(if place % 2 == 0 { &first } else { &second }, place)).collect();
    for _ in 0..3 {
        assert_eq!(first.admit(Place(9), &ENDLESS), Err(AdmitError::Full(8)));
    }
    assert!(second.set(ids[5], SessionStatus::Revoked));
    let next = admit(&first, 9);
    assert_eq!((next.0 & 7, second.valid(ids[5], now_ns())), (ids[5].0 & 7, None));
    assert_eq!(second.admit(Place(9), &ENDLESS), Err(AdmitError::Full(8)));
}

#[test]
fn a_state_of_millions_of_sessions_is_used_to_its_last_slot() {
    let folder = Folder::new();
    let open = |role| {
        let capacity = Capacity { sessions: 3_000_000, uids: 64 };
        State::open(&folder.0, role, Some(capacity), (None, None), None, Clock::Coarse, Residence::default()).unwrap()
    };
    let ours = Sessions::of(Arc::new(open(Role::Authority)));
    let mut admitted = Vec::new();
    let refused = loop {
        match ours.admit(Place(admitted.len() % 64), &ENDLESS) {
            Ok(session) => admitted.push(session),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, admitted.len()), (AdmitError::Full(3_000_000), 3_000_000));
    let theirs = Sessions::of(Arc::new(open(Role::Decide)));
    let now_ns = now_ns();
    assert!((0..).zip(&admitted).all(|(at, &id)| theirs.valid(id, now_ns) == Some(Place(at % 64))));
    let last = *admitted.last().unwrap();
    assert!(ours.set(last, SessionStatus::Revoked) && theirs.valid(last, now_ns).is_none());
    let again = admit(&ours, 7);
    assert!(again != last && theirs.valid(again, now_ns) == Some(Place(7)), "the slot of the revoked one");
}

#[test]
fn claims_of_a_process_that_ended_are_taken_over() {
    let folder = Folder::new();
    let (first, dead) = (folder.authority(), folder.authority());
    let lost = admit(&dead, 3);
    let number = usize::try_from(lost.0 & 7).unwrap();
    // The claim is never given back.
    assert!(dead.state().owners.claim(&dead.state().details()[number].writer, Duration::ZERO).is_some());
    assert_eq!(first.renew(lost, 5), Err(crate::ChangeSessionError::Busy), "a living writer's claim was taken");
    drop(dead);
    assert_eq!(first.renew(lost, i64::MAX), Ok(()));
    assert_eq!(first.valid(lost, now_ns()), Some(Place(3)));
}

#[test]
fn what_a_dead_process_left_of_a_note_is_written_anew_also_by_who_gets_its_number() {
    use crate::notes::{Deed, NOTES, Note};
    let folder = Folder::new();
    let note = |by: &str| Note { by: by.to_owned(), reason: String::new(), since_ns: 7, of: None };
    let write = |sessions: &Sessions, by: &str| {
        let began = std::time::Instant::now();
        for deed in [Deed::Released, Deed::Renewed] {
            (0..NOTES).for_each(|_| sessions.keep(&note(by), deed, 0));
        }
        // Each record that somebody holds would be waited for.
        assert!(began.elapsed() < 20 * crate::owners::PATIENT, "{:?}", began.elapsed());
        assert_eq!(sessions.notes().iter().filter(|noted| noted.note.by == by).count(), 2 * NOTES, "{by}");
    };
    // One that lives on finds by the lock that the other one has ended; the next one has that one's number.
    let (first, dead) = (folder.authority(), folder.authority());
    let claim = |dead: &Sessions| {
        for writer in dead.state().notes().writers().step_by(16) {
            assert!(dead.state().owners.claim(writer, Duration::ZERO).is_some());
        }
    };
    claim(&dead);
    drop(dead);
    write(&first, "first");
    let dead = folder.authority();
    claim(&dead);
    drop(dead);
    write(&folder.authority(), "next");
}

#[test]
fn a_slot_left_half_written_is_given_to_another_session() {
    let folder = Folder::new();
    let (first, dead) = (folder.authority(), folder.authority());
    let ids: Vec<SessionId> = (0..8).map(|place| admit(&first, place)).collect();
    assert!(first.set(ids[2], SessionStatus::Revoked));
    let number = usize::try_from(ids[2].0 & 7).unwrap();
    assert!(dead.state().owners.claim(&dead.state().details()[number].writer, Duration::ZERO).is_some());
    dead.state().slots()[number].state.store(77 << 32 | crate::slot::FREE, Ordering::Release);
    assert_eq!(first.admit(Place(9), &ENDLESS), Err(AdmitError::Full(8)), "a living writer's slot was taken");
    drop(dead);
    let again = folder.authority();
    let id = admit(&again, 9);
    assert_eq!((id.0 & 7, first.valid(id, now_ns()), first.valid(ids[2], now_ns())), (2, Some(Place(9)), None));
}

#[test]
fn proofs_renewals_and_factors_are_seen_by_all() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let factors = first.factors(["fido2", "x509"]).unwrap().unwrap();
    assert_eq!(second.factors(["x509", "fido2"]).unwrap(), Some(factors));
    let proof = Proof { at_ns: now_ns(), factors, assurance: 2, risk: 30 };
    let id = first
        .admit_with(Place(3), &ENDLESS, &Known { proof, grounds: Known::one_ground(9), ..Known::default() })
        .unwrap();
    let live = second.live(id).unwrap().proof;
    assert_eq!((live.factors, live.assurance, live.risk), (factors, 2, 30));
    let otp = second.factors(["otp"]).unwrap().unwrap();
    second.present(id, |before| Proof { factors: before.factors | otp, risk: 0, ..before }).unwrap();
    assert_eq!(first.live(id).unwrap().proof.factors, factors | otp);
    assert_eq!(first.state().factor_names(), ["fido2", "x509", "otp"]);
    assert_eq!(second.renew(id, 1), Ok(()));
    assert_eq!(first.valid(id, now_ns()), None);
    assert_eq!(first.renew(id, i64::MAX), Err(crate::ChangeSessionError::Over), "an expired session was renewed");
    let many = (0..20).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(first.factors(many.iter().map(String::as_str)).unwrap(), None);
}

#[test]
fn revocations_by_what_is_chosen_reach_the_sessions_of_all_processes() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let known = |ground| Known { grounds: [7, 0, 0, 0, 0, 0, 0, 0, ground], ..Known::default() };
    let ids = [(3, 1), (3, 2), (4, 1)]
        .map(|(place, ground)| second.admit_with(Place(place), &ENDLESS, &known(ground)).unwrap());
    assert_eq!(first.set_all(SessionStatus::Revoked, None, |record| record.grounds.contains(&1)), 2);
    assert_eq!(ids.map(|id| second.valid(id, now_ns()).is_some()), [false, true, false]);
    assert_eq!(first.set_all(SessionStatus::Revoked, None, |record| record.principal == Place(3)), 1);
    assert_eq!(second.valid(ids[1], now_ns()), None);
}

#[test]
fn a_session_that_rests_on_a_credential_is_renewed_sooner_only() {
    let folder = Folder::new();
    let sessions = folder.authority();
    let end = 1 << 62;
    let admission = Admission { not_after_ns: end, ..ENDLESS };
    let mut grounds = Known::one_ground(1);
    let trusted = sessions.admit_with(Place(3), &admission, &Known { grounds, ..Known::default() }).unwrap();
    grounds[crate::AUTHORITY_GROUND] = 5;
    let proved = sessions.admit_with(Place(3), &admission, &Known { grounds, ..Known::default() }).unwrap();
    assert_eq!(sessions.renew(trusted, end + 1), Ok(()));
    assert_eq!(sessions.renew(proved, end + 1), Err(crate::ChangeSessionError::Bound));
    assert_eq!(sessions.renew(proved, end), Ok(()));
    assert_eq!(sessions.renew(proved, end - 1), Ok(()));
    assert_eq!(sessions.renew(proved, end), Err(crate::ChangeSessionError::Bound));
    assert_eq!(sessions.record(proved).unwrap().grounds, grounds);
}

#[test]
fn a_file_that_is_not_the_state_is_refused_with_a_reason() {
    let folder = Folder::new();
    drop(folder.open(Role::Authority).unwrap());
    let whole = std::fs::read(folder.file()).unwrap();
    let write = |bytes: &[u8]| File::options().write(true).open(folder.file()).unwrap().write_all_at(bytes, 0).unwrap();
    for (at, why) in [
        (0, "not a state"),
        (8, "another version"),
        (12, "another version"),
        (24, "was changed"),
        (40, "was changed"),
        (70, "was changed"),
    ] {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 1;
        write(&spoilt);
        assert!(folder.why().contains(why), "{at}: {}", folder.why());
    }
    write(&whole);
    drop(folder.open(Role::Authority).unwrap());
    let file = File::options().write(true).open(folder.file()).unwrap();
    for len in [0, 8, 4096, whole.len() as u64 - 1, whole.len() as u64 + 1] {
        file.set_len(len).unwrap();
        write(&whole[..whole.len().min(usize::try_from(len).unwrap())]);
        assert!(folder.why().contains(if len <= 8 { "not a state" } else { "not as long" }), "{len}: {}", folder.why());
    }
    std::fs::remove_file(folder.file()).unwrap();
    std::fs::write(folder.file(), &whole).unwrap();
    std::fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(folder.why().contains("is a copy"), "{}", folder.why());
}

#[test]
fn a_state_of_another_boot_or_size_is_refused() {
    let folder = Folder::new();
    drop(folder.open(Role::Authority).unwrap());
    let file = File::options().read(true).write(true).open(folder.file()).unwrap();
    let mut bytes = [0; size_of::<Header>()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let header = Header::read_from_bytes(&bytes).unwrap();
    let write = |mut changed: Header| {
        changed.hash = hash(&changed);
        file.write_all_at(changed.as_bytes(), 0).unwrap();
    };
    write(Header { boot: [7; 16], ..header });
    assert!(folder.why().contains("before the machine started"), "{}", folder.why());
    write(Header { layout: 1, ..header });
    assert!(folder.why().contains("another build"), "{}", folder.why());
    write(Header { sessions: u64::MAX, ..header });
    assert!(folder.why().contains("another build"), "{}", folder.why());
    write(header);
    let wanted = |wanted| {
        let capacity = Some(Capacity { sessions: 8, uids: 64 });
        State::open(&folder.0, Role::Authority, capacity, wanted, None, Clock::Coarse, Residence::default()).map(|_| ())
    };
    assert!(wanted((Some(8), Some(64))).is_ok());
    assert!(wanted((Some(16), None)).unwrap_err().to_string().contains("sessions=8"));
    assert!(wanted((None, Some(1))).unwrap_err().to_string().contains("handles=64"));
}

#[test]
fn another_file_of_owners_is_refused() {
    let folder = Folder::new();
    let first = folder.authority();
    std::fs::remove_file(folder.0.join(OWNERS)).unwrap();
    assert!(folder.why().contains("`owners` of this state is gone"), "{}", folder.why());
    assert!(!folder.0.join(OWNERS).exists(), "a file of owners was made that excludes nobody");
    std::fs::write(folder.0.join(OWNERS), "").unwrap();
    std::fs::set_permissions(folder.0.join(OWNERS), Permissions::from_mode(0o600)).unwrap();
    assert!(folder.why().contains("not the file that was made with the state"), "{}", folder.why());
    let id = admit(&first, 3);
    assert_eq!(first.valid(id, now_ns()), Some(Place(3)));
    let link = folder.0.join("link");
    std::fs::hard_link(folder.file(), &link).unwrap();
    assert!(folder.why().contains("hard link"), "{}", folder.why());
}

#[test]
fn what_others_may_write_is_refused() {
    let folder = Folder::new();
    drop(folder.open(Role::Authority).unwrap());
    let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for (path, good) in [(&folder.0, 0o700), (&folder.file(), 0o600), (&folder.0.join(OWNERS), 0o600)] {
        for mode in [good | 0o002, good | 0o020] {
            set(path, mode);
            assert!(folder.why().contains("others than its owner may write"), "{mode:o}: {}", folder.why());
        }
        set(path, good);
    }
    assert!(folder.open(Role::Authority).is_ok());
    std::fs::remove_file(folder.file()).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.file()).unwrap();
    assert!(folder.why().contains("cannot be opened"), "{}", folder.why());
}

#[test]
fn only_its_user_can_open_the_file_of_owners_also_where_a_group_reads_the_state() {
    let folder = Folder::new();
    let group = Some(rustix::process::getegid().as_raw());
    let open = || {
        let (capacity, residence) = (Some(Capacity { sessions: 8, uids: 64 }), Residence::default());
        State::open(&folder.0, Role::Authority, capacity, (None, None), group, Clock::Coarse, residence)
    };
    let first = open().unwrap();
    let mode = |name: &str| std::fs::metadata(folder.0.join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(FILE) & 0o040, mode(OWNERS)), (0o040, 0o600));
    std::fs::set_permissions(folder.0.join(OWNERS), Permissions::from_mode(0o640)).unwrap();
    let why = open().map(|_| ()).unwrap_err().to_string();
    assert!(why.ends_with("others than its owner may read it (mode 640): chmod 600"), "{why}");
    drop(first);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
    let folder = Folder::new();
    drop(folder.authority());
    std::fs::remove_file(folder.file()).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, folder.file(), kind, mode, 0).unwrap();
    for role in [Role::Authority, Role::Decide] {
        let why = folder.open(role).map(|_| ()).unwrap_err().to_string();
        assert!(why.ends_with("wanted a file: remove it"), "{why}");
    }
}

#[test]
fn a_process_that_only_decides_says_that_no_authority_follows_the_wall_clock() {
    let folder = Folder::new();
    let authority = folder.authority();
    let reader = Sessions::of(Arc::new(folder.open(Role::Decide).unwrap()));
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    reader.when_noticed({
        let told = told.clone();
        move |notice| told.lock().unwrap().push(notice)
    });
    reader.follow();
    let [live, ended, early] = [3, 4, 5].map(|place| admit(&authority, place));
    let details = |id: SessionId| &authority.state().details()[usize::try_from(id.0 & 7).unwrap()];
    let wall_ns = Reading::now().wall;
    details(ended).not_after_ns.store(wall_ns - 1, Ordering::Release);
    details(early).not_before_ns.store(wall_ns + 60_000_000_000, Ordering::Release);
    authority.state().control().offset.fetch_sub(3_600_000_000_000, Ordering::AcqRel);
    reader.follow();
    assert_eq!(*told.lock().unwrap(), [Notice::Behind(false), Notice::Behind(true)]);
    let codes = [live, ended, early].map(|id| reader.denied_by_wall(id));
    assert_eq!(codes, [None, Some(Code::Expired), Some(Code::NotYetValid)]);
    authority.follow();
    reader.follow();
    assert_eq!(told.lock().unwrap().last(), Some(&Notice::Behind(false)));
}

#[test]
fn a_process_that_only_decides_makes_no_state() {
    let folder = Folder::new();
    let why = folder.open(Role::Decide).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("role='authority' first"), "{why}");
    assert!(!folder.0.exists(), "a directory was made");
}

#[test]
fn without_a_capacity_no_state_is_made() {
    let folder = Folder::new();
    let open = || {
        let residence = Residence::default();
        State::open(&folder.0, Role::Authority, None, (None, None), None, Clock::Coarse, residence).map(|_| ())
    };
    let is_refused = || open().is_err_and(|error| error.to_string().contains("there is no state here"));
    assert!(is_refused() && !folder.0.exists(), "a directory was made");
    std::fs::create_dir(&folder.0).unwrap();
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).unwrap();
    assert!(is_refused() && std::fs::read_dir(&folder.0).unwrap().next().is_none(), "a file was made");
    let first = folder.authority();
    assert!(open().is_ok());
    std::fs::remove_file(folder.file()).unwrap();
    assert!(is_refused() && !folder.file().exists(), "a removed state was made anew");
    drop(first);
}

#[test]
fn a_uid_that_is_too_long_for_the_register_takes_nothing_of_it() {
    let folder = Folder::new();
    let state = folder.open(Role::Authority).unwrap();
    let uids = state.uids().unwrap();
    let before = uids.in_use();
    assert_eq!((before.uids, before.bytes.0), ((0, 64), 0));
    for (ty, id) in [("User", MAX_UID - 3), ("User", MAX_UID), ("User", 1 << 16), ("User", 1 << 20)] {
        assert_eq!(uids.register(ty, &"a".repeat(id)), Err(NoPlace::TooLong), "{id}");
    }
    assert_eq!(uids.register(&"T".repeat(MAX_UID), "1"), Err(NoPlace::TooLong));
    assert_eq!(uids.in_use(), before);
    let longest = "a".repeat(MAX_UID - 4);
    assert_eq!((uids.register("User", &longest), uids.get(0)), (Ok(0), Some(("User", &*longest))));
    assert_eq!((uids.in_use().uids, uids.in_use().bytes.0), ((1, 64), MAX_UID));
    let last = (1..=64).map(|number| uids.register("User", &number.to_string())).find(Result::is_err);
    let full = uids.in_use();
    assert_eq!((last, full.uids), (Some(Err(NoPlace::Full)), (64, 64)));
    // Whoever is refused takes no room for a text either.
    assert_eq!((uids.register("User", "new"), uids.in_use()), (Err(NoPlace::Full), full));
}

#[test]
fn a_file_that_was_removed_or_replaced_is_noticed_for_good() {
    type Change = fn(&Folder);
    let away = |folder: &Folder| folder.0.join("away");
    let removed: Change = |folder| std::fs::remove_file(folder.file()).unwrap();
    let replaced: Change = |folder| {
        std::fs::rename(folder.file(), folder.0.join("away")).unwrap();
        drop(folder.authority());
    };
    let copied: Change = |folder| {
        std::fs::copy(folder.file(), folder.0.join("away")).unwrap();
        std::fs::rename(folder.0.join("away"), folder.file()).unwrap();
    };
    let linked: Change = |folder| {
        std::fs::rename(folder.file(), folder.0.join("away")).unwrap();
        std::os::unix::fs::symlink("away", folder.file()).unwrap();
    };
    for (change, says) in [(removed, "removed"), (replaced, "replaced"), (copied, "removed"), (linked, "replaced")] {
        let folder = Folder::new();
        let all = [Role::Authority, Role::Decide].map(|role| Sessions::of(Arc::new(folder.open(role).unwrap())));
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        for sessions in &all {
            assert_eq!(sessions.check_file(), Ok(()));
            let told = told.clone();
            sessions.when_noticed(move |notice| told.lock().unwrap().push(notice));
        }
        change(&folder);
        for sessions in &all {
            let why = sessions.check_file().unwrap_err().to_string();
            assert!(why.contains(says) && why.contains("STATE_GONE"), "{why}");
        }
        assert_eq!(*told.lock().unwrap(), [Notice::Gone; 2]);
        assert!(matches!(all[0].admit(Place(1), &ENDLESS), Err(AdmitError::Gone(_))));
        // What was missed meanwhile is not caught up when the file comes back.
        if away(&folder).exists() {
            std::fs::rename(away(&folder), folder.file()).unwrap();
        }
        assert!(all.iter().all(|sessions| sessions.check_file().is_err()));
    }
}

#[test]
fn a_file_that_was_only_renamed_is_the_state_until_another_one_has_its_name() {
    let folder = Folder::new();
    let sessions = folder.authority();
    std::fs::rename(folder.file(), folder.0.join("away")).unwrap();
    assert_eq!(sessions.check_file(), Ok(()));
    std::fs::rename(folder.0.join("away"), folder.file()).unwrap();
    assert_eq!((sessions.check_file(), folder.authority().check_file()), (Ok(()), Ok(())));
}

#[test]
fn who_waits_for_the_writers_lock_is_told_which_process_has_it() {
    let folder = Folder::new();
    let [first, second] = [(); 2].map(|()| folder.open(Role::Authority).unwrap());
    let why = first.alone(|| second.alone(|| ()).unwrap_err().to_string()).unwrap();
    assert!(why.contains(&format!("process {} ", std::process::id())) && why.contains("kill -CONT"), "{why}");
    assert!(first.alone(|| second.alone_at_once(|| ()).is_none()).unwrap(), "it waited, or went on");
    assert_eq!(second.alone(|| 5).unwrap(), 5);
    assert_eq!(first.control().writer_process.load(Ordering::Relaxed), 0);
    // Who was stopped before it could say who it is is found, too.
    let unsaid = || {
        first.control().writer_process.store(0, Ordering::Relaxed);
        second.alone(|| ()).unwrap_err().to_string()
    };
    let why = first.alone(unsaid).unwrap();
    assert!(why.starts_with(&format!("process {} keeps", std::process::id())), "{why}");
}

#[test]
fn threads_that_wait_for_the_lock_wait_for_a_second_together() {
    let folder = Folder::new();
    let [first, second] = [(); 2].map(|()| folder.open(Role::Authority).unwrap());
    let began = std::time::Instant::now();
    first
        .alone(|| {
            std::thread::scope(|threads| {
                let all = [(); 4].map(|()| threads.spawn(|| second.alone(|| ()).is_err()));
                assert!(all.into_iter().all(|thread| thread.join().unwrap()));
            });
        })
        .unwrap();
    // One after the other they would take four seconds.
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
}

#[test]
fn of_two_threads_the_one_that_read_the_clocks_last_tells_last() {
    let folder = Folder::new();
    let authority = folder.authority();
    let reader = Sessions::of(Arc::new(folder.open(Role::Decide).unwrap()));
    let (told, (entered, inside)) = (std::sync::Mutex::new(Vec::new()), std::sync::mpsc::channel());
    let told = Arc::new(told);
    reader.when_noticed({
        let (told, entered) = (told.clone(), std::sync::Mutex::new(entered));
        move |notice| {
            let _ = entered.lock().unwrap().send(());
            // Whoever tells what was before is slow.
            if notice == Notice::Behind(false) {
                std::thread::sleep(Duration::from_millis(100));
            }
            told.lock().unwrap().push(notice);
        }
    });
    std::thread::scope(|threads| {
        threads.spawn(|| reader.follow());
        inside.recv().unwrap();
        authority.state().control().offset.fetch_sub(3_600_000_000_000, Ordering::AcqRel);
        reader.follow();
    });
    assert_eq!(*told.lock().unwrap(), [Notice::Behind(false), Notice::Behind(true)]);
}
