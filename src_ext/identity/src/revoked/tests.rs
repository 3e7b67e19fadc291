//! What the list of revoked grounds keeps, notices and refuses.

use super::line::tests::revocation;
use super::*;
use proptest::prelude::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicU32;

/// A directory of this test's own, which is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ztfast-revoked-{}-{number}", std::process::id())))
    }

    fn file(&self) -> PathBuf {
        self.0.join("revoked")
    }

    fn open(&self, role: Role) -> Result<Revoked, RevokedError> {
        Revoked::open(&self.file(), role)
    }

    fn authority(&self) -> Revoked {
        self.open(Role::Authority).unwrap()
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

fn of(number: u8) -> u64 {
    super::number(&[number; 32])
}

fn revoke(list: &Revoked, number: u8) -> Arc<RevokedGrounds> {
    list.append(&revocation(number, Change::Revoked)).unwrap()
}

fn has(list: &Revoked, number: u8) -> bool {
    list.current().unwrap().contains(of(number))
}

#[test]
fn what_one_process_revokes_the_others_know_at_once_and_after_a_restart() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let reader = folder.open(Role::Decide).unwrap();
    assert!(!has(&first, 1) && first.current().unwrap().is_empty() && first.lines().unwrap().is_empty());
    let mut stamps = vec![reader.current().unwrap().stamp()];
    for number in 0..50 {
        let now = revoke(if number % 2 == 0 { &first } else { &second }, number);
        assert!(now.contains(of(number)) && now.len() == u64::from(number) + 1);
        assert!([&first, &second, &reader].iter().all(|list| has(list, number) && !has(list, number + 1)));
        stamps.push(now.stamp());
    }
    second.append(&revocation(7, Change::Restored)).unwrap();
    assert!([&first, &second, &reader].iter().all(|list| !has(list, 7) && has(list, 8)));
    let all: Vec<Revocation> = (0..50).map(|number| revocation(number, Change::Revoked)).collect();
    let all = [all, vec![revocation(7, Change::Restored)]].concat();
    assert_eq!((reader.lines().unwrap(), first.current().unwrap().len()), (all.clone(), 51));
    stamps.push(first.current().unwrap().stamp());
    let again = folder.authority();
    assert!(!has(&again, 7) && has(&again, 49));
    assert_eq!((again.current().unwrap().stamp(), again.lines().unwrap()), (stamps[51], all));
    stamps.sort_unstable();
    stamps.dedup();
    assert_eq!(stamps.len(), 52, "each change has a stamp of its own");
    assert!(matches!(reader.append(&revocation(1, Change::Revoked)), Err(RevokedError::ReadOnly)));
    let unfit = Revocation { kind: "Key".to_owned(), ..revocation(1, Change::Revoked) };
    assert!(matches!(first.append(&unfit), Err(RevokedError::NoLine(_))) && first.current().unwrap().len() == 51);
}

#[test]
fn a_list_in_memory_says_what_one_in_a_file_says() {
    let (folder, memory) = (Folder::new(), Revoked::in_memory());
    let file = folder.authority();
    for (number, what) in [(1, Change::Revoked), (2, Change::Revoked), (1, Change::Restored), (1, Change::Restored)] {
        let [one, other] = [&memory, &file].map(|list| list.append(&revocation(number, what)).unwrap());
        assert_eq!((one.stamp(), one.len()), (other.stamp(), other.len()));
        assert_eq!([1, 2, 3].map(|n| has(&memory, n)), [1, 2, 3].map(|n| has(&file, n)));
    }
    assert_eq!(memory.lines().unwrap(), file.lines().unwrap());
}

#[test]
fn a_list_in_memory_does_not_outlast_the_machine() {
    let folder = Folder(PathBuf::from(format!("/dev/shm/ztfast-revoked-{}", std::process::id())));
    let in_shm = Path::new("/dev/shm").is_dir().then(|| folder.authority().is_lasting());
    assert!(!Revoked::in_memory().is_lasting() && in_shm != Some(true));
}

#[test]
fn numbers_of_grounds_are_their_first_bytes_and_never_0() {
    assert_eq!((number(&[0; 32]), number(&[1; 32])), (1, 0x0101_0101_0101_0101));
    let mut digest = [0xFF; 32];
    digest[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(number(&digest), 0x0102_0304_0506_0708);
}

#[test]
fn a_line_that_was_not_finished_does_not_count_and_the_next_one_takes_its_place() {
    let folder = Folder::new();
    let list = folder.authority();
    revoke(&list, 1);
    let whole = std::fs::read(folder.file()).unwrap();
    let line = revocation(2, Change::Revoked).to_line().unwrap();
    for len in 1..line.len() {
        let torn = [&whole, &line.as_bytes()[..len]].concat();
        std::fs::write(folder.file(), &torn).unwrap();
        let again = folder.authority();
        assert!([&list, &again].iter().all(|list| has(list, 1) && !has(list, 2)), "{len}");
        assert_eq!(again.lines().unwrap().len(), 1);
        assert_eq!(std::fs::read(folder.file()).unwrap(), torn, "a reader changed the file");
        if len % 16 == 0 {
            revoke(&again, 3);
            assert!(has(&list, 3) && !has(&list, 2) && folder.authority().lines().unwrap().len() == 2);
            // Back to where it was, for a list that is opened anew.
            std::fs::write(folder.file(), &whole).unwrap();
            assert!(list.current().unwrap_err().to_string().contains("was cut"));
            return a_line_that_was_not_finished_after_a_loss_of_power(&folder, &whole);
        }
    }
}

fn a_line_that_was_not_finished_after_a_loss_of_power(folder: &Folder, whole: &[u8]) {
    // The disk knows of the size, and not of the content.
    std::fs::write(folder.file(), [whole, &[0; 300]].concat()).unwrap();
    let list = folder.authority();
    assert!(has(&list, 1) && list.current().unwrap().len() == 1);
    assert!(revoke(&list, 4).contains(of(4)));
    assert_eq!(folder.authority().lines().unwrap().len(), 2);
}

#[test]
fn any_other_line_that_is_not_whole_fails_with_its_number_and_what_to_do() {
    let folder = Folder::new();
    let list = folder.authority();
    (1..4).for_each(|number| drop(revoke(&list, number)));
    let whole = std::fs::read_to_string(folder.file()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let write = |lines: &[&str]| std::fs::write(folder.file(), lines.join("\n") + "\n").unwrap();
    let long = "x".repeat(MAX_LINE + 1);
    for (at, bad) in [(0, ""), (1, "{}"), (1, &lines[1][1..]), (2, &lines[2][..50]), (0, &long), (2, "\u{0}")] {
        let mut changed = lines.clone();
        changed[at] = bad;
        write(&changed);
        let why = folder.why();
        assert!(why.contains(&format!("revoked, line {}: it ", at + 1)), "{at} {why}");
        assert!(why.contains("put a whole copy") && why.contains("nobody is admitted"), "{why}");
    }
    // Without the line it is a list again.
    write(&[lines[0], lines[2]]);
    assert!([1, 2, 3].map(|number| has(&folder.authority(), number)) == [true, false, true]);
    // One that ends with too long a line was not written by ztfast, whether it was finished or not.
    std::fs::write(folder.file(), whole.clone() + &long).unwrap();
    assert!(folder.why().contains("line 4: it is longer"), "{}", folder.why());
    // The list that was open notices it when it grows.
    std::fs::write(folder.file(), whole.clone() + "{}\n").unwrap();
    let why = list.current().unwrap_err().to_string();
    assert!(why.contains("line 4") && matches!(list.current(), Err(RevokedError::Damaged { .. })), "{why}");
    assert!(list.append(&revocation(9, Change::Revoked)).is_err() && folder.why().contains("line 4"));
    std::fs::write(folder.file(), whole).unwrap();
    assert!(list.current().is_err(), "what was missed meanwhile is not caught up");
}

#[test]
fn a_huge_file_that_is_no_list_is_refused_at_once() {
    let folder = Folder::new();
    drop(folder.authority());
    File::options().write(true).open(folder.file()).unwrap().set_len(1 << 40).unwrap();
    let began = std::time::Instant::now();
    assert!(folder.why().contains("line 1: it is longer"), "{}", folder.why());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn nobody_is_admitted_when_the_list_is_cut_removed_or_replaced() {
    type Change = fn(&Folder);
    let changes: [(Change, &str); 5] = [
        (|folder| File::options().write(true).open(folder.file()).unwrap().set_len(10).unwrap(), "cut"),
        (|folder| File::options().write(true).open(folder.file()).unwrap().set_len(0).unwrap(), "cut"),
        (|folder| std::fs::remove_file(folder.file()).unwrap(), "removed"),
        (
            |folder| {
                std::fs::copy(folder.file(), folder.0.join("copy")).unwrap();
                std::fs::rename(folder.0.join("copy"), folder.file()).unwrap();
            },
            "removed",
        ),
        (
            |folder| {
                std::fs::rename(folder.file(), folder.0.join("away")).unwrap();
                drop(folder.authority());
            },
            "replaced",
        ),
    ];
    for (change, says) in changes {
        let folder = Folder::new();
        let lists = [folder.authority(), folder.open(Role::Decide).unwrap()];
        revoke(&lists[0], 1);
        assert!(lists.iter().all(|list| has(list, 1)));
        change(&folder);
        for list in &lists {
            let why = list.current().unwrap_err().to_string();
            assert!(why.contains(says) && why.contains("nobody is admitted"), "{says}: {why}");
        }
        assert!(lists[0].append(&revocation(2, super::Change::Revoked)).is_err());
        if folder.0.join("away").exists() {
            std::fs::rename(folder.0.join("away"), folder.file()).unwrap();
            assert!(lists.iter().all(|list| list.current().is_err()), "what was missed is not caught up");
        }
    }
}

#[test]
fn a_list_that_was_only_renamed_is_out_of_reach() {
    let folder = Folder::new();
    let list = folder.authority();
    std::fs::rename(folder.file(), folder.0.join("away")).unwrap();
    let why = list.current().unwrap_err().to_string();
    assert!(why.contains("renamed"), "{why}");
}

#[test]
fn what_is_no_file_or_may_be_others_is_refused_at_once() {
    let folder = Folder::new();
    drop(folder.authority());
    for mode in [0o602, 0o620, 0o640, 0o604] {
        std::fs::set_permissions(folder.file(), Permissions::from_mode(mode)).unwrap();
        assert!(folder.why().contains("others than its owner"), "{mode:o}: {}", folder.why());
    }
    std::fs::set_permissions(folder.file(), Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
    assert!(folder.why().contains("others than its owner may write"), "{}", folder.why());
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).unwrap();
    std::fs::hard_link(folder.file(), folder.0.join("link")).unwrap();
    assert!(folder.why().contains("hard link"), "{}", folder.why());
    let replace = |make: &dyn Fn(&Path)| {
        let _ = std::fs::remove_file(folder.file());
        make(&folder.file());
        [Role::Authority, Role::Decide].map(|role| folder.open(role).map(|_| ()).unwrap_err().to_string())
    };
    let fifo = replace(&|path| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    });
    assert!(fifo.iter().all(|why| why.ends_with("wanted a file: remove it")), "{fifo:?}");
    let link = replace(&|path| std::os::unix::fs::symlink("/etc/hostname", path).unwrap());
    assert!(link.iter().all(|why| why.contains("cannot be opened")), "{link:?}");
    let directory = replace(&|path| std::fs::create_dir(path).unwrap());
    assert!(directory[0].contains("cannot be opened") && directory[1].contains("wanted a file"), "{directory:?}");
    std::fs::remove_dir(folder.file()).unwrap();
    if rustix::process::geteuid().is_root() {
        drop(folder.authority());
        std::os::unix::fs::chown(folder.file(), Some(12_345), None).unwrap();
        let why = [Role::Authority, Role::Decide].map(|role| folder.open(role).map(|_| ()).unwrap_err().to_string());
        assert!(why[0].contains("only user 12345") && why[1].contains("belongs to user 12345"), "{why:?}");
    }
}

#[test]
fn a_process_that_only_reads_makes_no_list() {
    let folder = Folder::new();
    let why = folder.open(Role::Decide).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("role='authority' first") && !folder.0.exists(), "{why}");
    let why = Revoked::open(Path::new("/"), Role::Authority).map(|_| ()).unwrap_err().to_string();
    assert!(!why.is_empty());
}

#[test]
fn threads_of_several_lists_append_one_after_the_other() {
    let folder = Folder::new();
    let lists = [folder.authority(), folder.authority()];
    std::thread::scope(|threads| {
        for thread in 0..4_u8 {
            let list = &lists[usize::from(thread % 2)];
            threads.spawn(move || {
                for number in 0..25 {
                    let number = 50 * thread + number;
                    assert!(revoke(list, number).contains(of(number)));
                }
            });
        }
        for list in &lists {
            threads.spawn(move || {
                let mut known = 0;
                while known < 100 {
                    let now = list.current().unwrap().len();
                    assert!(now >= known);
                    known = now;
                }
            });
        }
    });
    assert_eq!(folder.authority().lines().unwrap().len(), 100);
}

#[test]
fn whoever_waits_for_a_writer_that_stands_still_keeps_no_reader_waiting() {
    let folder = Folder::new();
    let (first, second) = (folder.authority(), folder.authority());
    let (file, ..) = first.file.as_ref().unwrap();
    let held = lock_byte(file.get().unwrap(), LOCK_AT, Duration::ZERO).unwrap();
    assert!(held.is_some());
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| second.append(&revocation(1, Change::Revoked)));
        std::thread::sleep(Duration::from_millis(50));
        let began = std::time::Instant::now();
        second.looked_ns.store(0, Ordering::Relaxed);
        assert!(!has(&second, 1) && began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        drop(held);
        assert!(waiting.join().unwrap().is_ok() && has(&first, 1));
    });
}

#[test]
fn an_admission_and_a_revocation_at_the_same_moment_do_not_miss_each_other() {
    use crate::table::{Lookup, Row, RowGround, Table};
    let folder = Folder::new();
    let lists = [folder.authority(), folder.authority()];
    let open = || Table::open(&folder.0, Role::Authority, Some(64), ztfast_pages::Residence::default()).unwrap();
    let tables = [open(), open()];
    let (mut by_list, mut by_revoker) = (0, 0);
    for round in 0..200_u8 {
        let key = [round; 32];
        let grounds = [RowGround { kind: 0, number: of(round) }];
        let row = Row::new(key, 1, (0, 100), 5, &grounds, b"").unwrap();
        let now = lists[0].current().unwrap();
        tables[0].put(&row, tables[0].begin(), 5, &now).unwrap();
        // A session is live, or revoked.
        let (session, revoked) = (AtomicU32::new(0), 2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                revoke(&lists[1], round);
                let _ = tables[1].fall(of(round));
                session.swap(revoked, Ordering::SeqCst)
            });
            let mut out = Row::empty();
            let list = lists[0].current().unwrap();
            if tables[0].get(&key, 1, 50, &list, &mut out) == Lookup::Found {
                let before = session.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
                let now = lists[0].current().unwrap();
                if before.is_ok() && out.grounds().iter().any(|ground| now.contains(ground.number)) {
                    session.store(revoked, Ordering::SeqCst);
                    by_list += 1;
                } else if before.is_ok() {
                    by_revoker += 1;
                }
            }
        });
        assert_eq!(session.load(Ordering::SeqCst), revoked, "a session outlived its ground in round {round}");
    }
    println!("{by_list} sessions were revoked by who admitted them, and {by_revoker} by who revoked");
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    Append {
        number: u8,
        what: Change,
        by: usize,
    },
    /// A writer is killed after so many bytes of a line.
    Tear {
        len: usize,
    },
    Open {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![3 => Just(Change::Revoked), 1 => Just(Change::Restored)];
    prop_oneof![
        6 => (0..6_u8, what, 0..2_usize).prop_map(|(number, what, by)| Step::Append { number, what, by }),
        1 => (1..60_usize).prop_map(|len| Step::Tear { len }),
        1 => (0..2_usize).prop_map(|which| Step::Open { which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_list_does_what_a_set_does(steps in prop::collection::vec(step(), 1..40)) {
        let folder = Folder::new();
        let mut lists = [folder.authority(), folder.authority()];
        let (mut model, mut count, mut is_torn) = (std::collections::BTreeSet::new(), 0, false);
        for step in steps {
            match step {
                Step::Append { number, what, by } => {
                    lists[by].append(&revocation(number, what)).unwrap();
                    let _ = match what {
                        Change::Revoked => model.insert(number),
                        Change::Restored => model.remove(&number),
                    };
                    (count, is_torn) = (count + 1, false);
                }
                // Whoever comes next cuts off what is there, so one writer leaves it there.
                Step::Tear { len } if !is_torn => {
                    let line = revocation(9, Change::Revoked).to_line().unwrap();
                    let mut file = File::options().append(true).open(folder.file()).unwrap();
                    file.write_all(&line.as_bytes()[..len]).unwrap();
                    is_torn = true;
                }
                Step::Tear { .. } => {}
                Step::Open { which } => lists[which] = folder.authority(),
            }
            for list in &lists {
                let now = list.current().unwrap();
                prop_assert_eq!(now.len(), count);
                prop_assert!((0..10).all(|number| now.contains(of(number)) == model.contains(&number)));
            }
        }
        prop_assert_eq!(lists[0].current().unwrap().stamp(), folder.authority().current().unwrap().stamp());
    }
}
