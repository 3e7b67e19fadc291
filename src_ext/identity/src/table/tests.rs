//! What the validation table finds, keeps and refuses.

use super::*;
use crate::revoked::{Change, Revoked, revocation};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::AtomicU32;

/// A directory of this test's own, which is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ztfast-table-{}-{number}", std::process::id())))
    }

    fn open(&self, role: Role) -> Result<Table, TableError> {
        Table::open(&self.0, role, Some(64), Residence::default())
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

/// Return a key of a number; all its bytes follow from that.
fn key(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

/// Return a row of which all parts follow from a number and a turn.
fn row(number: u64, turn: u64) -> Row {
    let mixed = (number << 32 | turn).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let part = |at: u64| mixed.rotate_left(u32::try_from(at % 64).unwrap()) ^ at;
    let kind = |at: u64| u8::try_from(part(at) % 251).unwrap();
    let grounds: Vec<RowGround> =
        (0..mixed >> 20 & 7).map(|at| RowGround { kind: kind(at), number: part(100 + at) | 1 }).collect();
    let text: Vec<u8> = (0..usize::try_from(mixed >> 8 & 511).unwrap()).map(|at| kind(at as u64)).collect();
    let end = i64::try_from(mixed >> 2).unwrap();
    Row::new(key(number), 1, (end - 50, end), i64::try_from(number << 32 | turn).unwrap(), &grounds, &text).unwrap()
}

fn of_epoch(epoch: u64, row: &Row) -> Row {
    let mut row = row.clone();
    row.epoch = epoch;
    row
}

fn empty_list() -> RevokedGrounds {
    RevokedGrounds::default()
}

fn put(table: &Table, row: &Row) -> Kept {
    table.put(row, table.begin(), row.verified_ns, &empty_list()).unwrap()
}

fn get(table: &Table, wanted: &Row, now_ns: i64) -> (Lookup, Row) {
    let mut out = Row::empty();
    (table.get(&wanted.key, wanted.epoch, now_ns, &empty_list(), &mut out), out)
}

#[test]
fn what_one_process_puts_the_others_find() {
    let folder = Folder::new();
    let (first, second) = (folder.open(Role::Authority).unwrap(), folder.open(Role::Authority).unwrap());
    let reader = folder.open(Role::Decide).unwrap();
    let rows: Vec<Row> = (0..10).map(|number| row(number, 0)).collect();
    for row in &rows {
        assert_eq!(put(&first, row), Kept::Kept);
    }
    for table in [&first, &second, &reader] {
        for wanted in &rows {
            assert_eq!(get(table, wanted, wanted.not_before_ns), (Lookup::Found, wanted.clone()));
        }
        assert_eq!(get(table, &row(99, 0), 0).0, Lookup::Missing);
        assert_eq!((table.len(), table.capacity(), table.is_empty()), (10, 64, false));
        let mut listed: Vec<Row> = table.rows().collect();
        listed.sort_by_key(|row| rows.iter().position(|one| one.key == row.key));
        assert_eq!(listed, rows);
    }
    assert!(matches!(reader.put(&rows[0], reader.begin(), 0, &empty_list()), Err(TableError::ReadOnly)));
    assert!(reader.fall_where(|_| Some(7)).is_empty() && first.rows().all(|row| row.fallen.is_none()));
    // A process that only reads counts nothing.
    assert_eq!(second.counters(), Counters { hits: 20, misses: 2, evictions: 0 });
    assert!(rows.iter().all(|row| second.put(row, second.begin(), 0, &empty_list()).unwrap() == Kept::Kept));
    assert_eq!(first.len(), 10, "a row that was verified again takes the place of the one before");
}

#[test]
fn a_row_counts_within_its_bounds_and_epoch() {
    let table = Table::private(8, Residence::default()).unwrap();
    let row = of_epoch(7, &row(1, 0));
    assert_eq!(put(&table, &row), Kept::Kept);
    let (from, to) = (row.not_before_ns, row.not_after_ns);
    for (now_ns, wanted) in [
        (i64::MIN, Lookup::NotYet),
        (from - 1, Lookup::NotYet),
        (from, Lookup::Found),
        (to - 1, Lookup::Found),
        (to, Lookup::Expired),
        (i64::MAX, Lookup::Expired),
    ] {
        assert_eq!(get(&table, &row, now_ns), (wanted, row.clone()), "{now_ns}");
    }
    for epoch in [6, 8, 0] {
        assert_eq!(get(&table, &of_epoch(epoch, &row), from).0, Lookup::Missing);
    }
    // Two configurations may be in use at once, while processes load a new one.
    let other = of_epoch(8, &row);
    assert_eq!(put(&table, &other), Kept::Kept);
    assert_eq!([&row, &other].map(|row| get(&table, row, from).0), [Lookup::Found; 2]);
}

#[test]
fn rows_fall_with_their_grounds_for_ever() {
    let folder = Folder::new();
    let (first, second) = (folder.open(Role::Authority).unwrap(), folder.open(Role::Authority).unwrap());
    let with = |number: u64, grounds: &[u64]| {
        let grounds: Vec<RowGround> = grounds.iter().map(|&number| RowGround { kind: 3, number }).collect();
        Row::new(key(number), 1, (0, 100), 5, &grounds, b"x").unwrap()
    };
    let ten: Vec<u64> = (10..20).collect();
    let rows = [with(1, &[10]), with(2, &[10, 11]), with(3, &ten), with(4, &[12]), with(5, &[])];
    for row in &rows {
        assert_eq!(put(&first, row), Kept::Kept);
    }
    let mut fell = second.fall(11);
    fell.sort_by_key(|fallen| *fallen != rows[1].key);
    assert_eq!(fell, [rows[1].key, rows[2].key]);
    let look = |table: &Table| rows.each_ref().map(|row| get(table, row, 50).0);
    let wanted = [Lookup::Found, Lookup::Fallen(11), Lookup::Fallen(11), Lookup::Found, Lookup::Found];
    assert_eq!((look(&first), look(&second)), (wanted, wanted));
    assert!(second.fall(11).is_empty(), "they fell before");
    assert_eq!(first.fall(19), Vec::<[u8; 32]>::new());
    assert_eq!(look(&first), wanted, "the first ground that fell is told");
    assert_eq!(first.fall_where(|row| (row.key == rows[4].key).then_some(99)), [rows[4].key]);
    assert_eq!(get(&second, &rows[4], 50).0, Lookup::Fallen(99));
    let listed = first.rows().filter(|row| row.fallen.is_some()).count();
    assert_eq!(listed, 3);
    // The credential was verified again.
    assert_eq!((put(&second, &rows[1]), get(&first, &rows[1], 50).0), (Kept::Kept, Lookup::Found));
}

#[test]
fn what_was_verified_before_something_fell_is_not_kept() {
    let table = Table::private(8, Residence::default()).unwrap();
    let (before, row) = (table.begin(), row(1, 0));
    assert!(!table.has_fallen_since(before) && table.fall(77).is_empty() && table.has_fallen_since(before));
    assert_eq!(table.put(&row, before, 0, &empty_list()).unwrap(), Kept::Late);
    assert_eq!((get(&table, &row, row.not_before_ns).0, table.len()), (Lookup::Missing, 0));
    assert_eq!(table.put(&row, table.begin(), 0, &empty_list()).unwrap(), Kept::Kept);
}

#[test]
fn a_row_falls_that_another_writer_has_not_confirmed() {
    let table = Table::private(8, Residence::default()).unwrap();
    let row = Row::new(key(1), 1, (0, 100), 5, &[RowGround { kind: 0, number: 42 }], b"").unwrap();
    // As a writer that looked for what fell, and was killed or stopped before it confirmed.
    let slot = table.slot(0, 0).unwrap();
    table.tags(0).unwrap()[0].store(tag_of(&words_of(&row.key)), Ordering::Relaxed);
    slot.write(&row, 0, empty_list().stamp(), || ());
    assert_eq!((get(&table, &row, 50).0, table.len()), (Lookup::Missing, 0));
    assert_eq!(table.fall(42), [row.key]);
    assert!(!slot.confirm());
    assert_eq!(get(&table, &row, 50).0, Lookup::Fallen(42));
}

#[test]
fn rows_on_revoked_grounds_are_neither_found_nor_kept_also_before_they_fall() {
    let (table, revoked) = (Table::private(8, Residence::default()).unwrap(), Revoked::in_memory());
    let number = crate::number(&[9; 32]);
    let grounds = [RowGround { kind: 0, number: 5 }, RowGround { kind: 1, number }];
    let row = Row::new(key(1), 1, (0, 100), 5, &grounds, b"").unwrap();
    let mut out = Row::empty();
    let mut look = |revoked: &Revoked| table.get(&row.key, 1, 50, &revoked.current().unwrap(), &mut out);
    assert_eq!(table.put(&row, table.begin(), 5, &revoked.current().unwrap()).unwrap(), Kept::Kept);
    revoked.append(&revocation(8, Change::Revoked)).unwrap();
    // The second time, the row is known to have been looked for in this list.
    assert_eq!([look(&revoked), look(&revoked)], [Lookup::Found; 2]);
    revoked.append(&revocation(9, Change::Revoked)).unwrap();
    assert_eq!([look(&revoked), look(&revoked)], [Lookup::Fallen(number); 2]);
    assert_eq!(table.put(&row, table.begin(), 5, &revoked.current().unwrap()).unwrap(), Kept::Revoked(number));
    // It was revoked by mistake, before anything fell.
    revoked.append(&revocation(9, Change::Restored)).unwrap();
    assert_eq!(look(&revoked), Lookup::Found);
}

#[test]
fn a_look_at_one_row_says_nothing_about_the_next_one_in_its_place() {
    let (table, revoked) = (Table::private(8, Residence::default()).unwrap(), Revoked::in_memory());
    let ground = |number| [RowGround { kind: 0, number }];
    let first = Row::new(key(1), 1, (0, 100), 5, &ground(5), b"").unwrap();
    let second = Row::new(key(1), 1, (0, 100), 5, &ground(crate::number(&[9; 32])), b"").unwrap();
    let (empty, slot) = (revoked.current().unwrap(), table.slot(0, 0).unwrap());
    assert_eq!(table.put(&first, table.begin(), 0, &empty).unwrap(), Kept::Kept);
    let mut out = Row::empty();
    let seen = slot.read(None, &mut out).unwrap();
    revoked.append(&revocation(9, Change::Revoked)).unwrap();
    let now = revoked.current().unwrap();
    // A process that was slow puts the second row by the list as it was, and the reader notes what it saw of the first.
    assert_eq!(table.put(&second, table.begin(), 0, &empty).unwrap(), Kept::Kept);
    slot.note_checked(seen, now.stamp());
    assert!(matches!(table.get(&key(1), 1, 50, &now, &mut out), Lookup::Fallen(_)));
}

#[test]
fn the_row_that_makes_room_is_free_fallen_expired_or_the_oldest() {
    let table = Table::private(WAYS, Residence::default()).unwrap();
    let second = 1_000_000_000;
    let row = |number: u64, end_ns: i64| {
        let ground = [RowGround { kind: 0, number: number + 1_000 }];
        Row::new(key(number), 1, (0, end_ns), 0, &ground, b"").unwrap()
    };
    let put = |number: u64, end_s: i64, now_s: i64| {
        let row = row(number, end_s * second);
        assert_eq!(table.put(&row, table.begin(), now_s * second, &empty_list()).unwrap(), Kept::Kept);
    };
    let has = |number: u64| table.rows().any(|row| row.key == key(number));
    for number in 0..8 {
        put(number, 100 + i64::from(number == 3) * -60, i64::try_from(number).unwrap());
    }
    assert_eq!((table.len(), table.counters().evictions), (8, 0));
    // The first is used again, and the fourth is over soon.
    assert_eq!(get(&table, &row(0, 0), 20 * second).0, Lookup::Found);
    assert_eq!(table.fall(1_006), [key(6)]);
    put(10, 100, 30);
    assert!(!has(6) && has(10), "the fallen one went");
    put(11, 100, 50);
    assert!(!has(3) && table.counters().evictions == 0, "the one whose time is over went");
    put(12, 100, 51);
    put(13, 100, 52);
    assert!(!has(1) && !has(2) && has(0) && table.counters().evictions == 2, "the oldest went");
    for now_s in 60..68 {
        put(4, 100, now_s);
    }
    assert_eq!((table.len(), table.counters().evictions), (8, 2), "a row takes its own place");
}

#[test]
fn rows_of_the_greatest_and_the_least_size_come_back_whole() {
    let table = Table::private(64, Residence::default()).unwrap();
    let ground = |number: u64| RowGround { kind: u8::try_from(number * 25).unwrap(), number: !number };
    let all: Vec<RowGround> = (0..=MAX_GROUNDS as u64).map(ground).collect();
    let text: Vec<u8> = (0..=MAX_TEXT).map(|at| u8::try_from(at % 256).unwrap()).collect();
    let make = |number, grounds: usize, bytes: usize| {
        Row::new(key(number), 1, (i64::MIN, i64::MAX), i64::MIN, &all[..grounds], &text[..bytes])
    };
    let sizes = [(0, 0), (1, 1), (MAX_GROUNDS, MAX_TEXT), (8, 8), (9, 7), (3, 823)];
    for (number, (grounds, bytes)) in (0..).zip(sizes) {
        assert_eq!(put(&table, &make(number, grounds, bytes).unwrap()), Kept::Kept);
    }
    // The same room is used for all: nothing is left of the row before.
    let mut out = Row::empty();
    for (number, (grounds, bytes)) in (0..).zip(sizes) {
        assert_eq!(table.get(&key(number), 1, 0, &empty_list(), &mut out), Lookup::Found);
        assert_eq!(out, make(number, grounds, bytes).unwrap());
    }
    assert_eq!(make(1, MAX_GROUNDS + 1, 0).unwrap_err(), NoRow::ManyGrounds(MAX_GROUNDS + 1));
    assert_eq!(make(1, 0, MAX_TEXT + 1).unwrap_err(), NoRow::LongText(MAX_TEXT + 1));
}

#[test]
fn lengths_in_corrupt_memory_lead_nowhere_else() {
    let table = Table::private(8, Residence::default()).unwrap();
    let row = row(1, 0);
    put(&table, &row);
    let slot = table.slots().find(|slot| slot.is_of(&words_of(&row.key), 1)).unwrap();
    for lengths in [u64::MAX, 255, 1 << 63, ((MAX_TEXT as u64 + 1) << 8) + 11] {
        slot.0[2].store(lengths, Ordering::Relaxed);
        let (found, out) = get(&table, &row, row.not_before_ns);
        assert!(found == Lookup::Found && out.text().len() <= MAX_TEXT && out.grounds().len() <= MAX_GROUNDS);
    }
}

#[test]
fn a_row_that_is_being_written_is_not_there_and_is_written_anew() {
    let folder = Folder::new();
    let table = folder.open(Role::Authority).unwrap();
    let (row, later) = (row(1, 0), row(1, 1));
    for left in [1, u64::MAX] {
        put(&table, &row);
        let slot = table.slots().find(|slot| slot.is_of(&words_of(&row.key), 1)).unwrap();
        // A writer that was killed leaves an odd number.
        slot.0[0].store(left, Ordering::Relaxed);
        assert_eq!((get(&table, &row, row.not_before_ns).0, table.len()), (Lookup::Missing, 0));
        assert!(table.fall_where(|_| Some(1)).is_empty());
        assert_eq!(put(&folder.open(Role::Authority).unwrap(), &later), Kept::Kept);
        assert_eq!(get(&table, &later, later.not_before_ns), (Lookup::Found, later.clone()));
        assert_eq!(table.len(), 1);
    }
}

/// Says that a writer is done, also if it failed.
struct Over<'a>(&'a AtomicU32);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn threads_and_processes_that_use_one_set_never_see_a_mixed_row() {
    let folder = Folder::new();
    // A single set, of which all keys are.
    let open = || Table::open(&folder.0, Role::Authority, Some(8), Residence::default()).unwrap();
    let (first, second) = (open(), open());
    let (turns, is_over) = (if cfg!(miri) { 20 } else { 1_000 }, AtomicU32::new(0));
    let read = |table: &Table| {
        let (mut found, mut out) = (0_u64, Row::empty());
        while is_over.load(Ordering::Relaxed) < 2 {
            for number in 0..16 {
                // Whether it is over does not matter, so nothing is rejected by its bounds before it is compared.
                let lookup = table.get(&key(number), 1, 0, &RevokedGrounds::default(), &mut out);
                if matches!(lookup, Lookup::NotYet | Lookup::Found | Lookup::Expired) {
                    let turn = out.verified_ns.cast_unsigned() & 0xFFFF_FFFF;
                    assert_eq!(row(number, turn), out, "a row of several");
                    found += 1;
                }
            }
            let listed: Vec<Row> = table.rows().collect();
            assert!(listed.len() <= 8);
        }
        found
    };
    let write = |table: &Table, odd: u64| {
        let _over = Over(&is_over);
        for turn in 0..turns {
            for number in (0..16).filter(|number| number % 2 == odd) {
                let row = row(number, turn);
                // The other writer may come first each time, for as long as this one waits.
                let kept = || table.put(&row, table.begin(), 0, &RevokedGrounds::default());
                let kept = (0..20).map(|_| kept()).find(|kept| !matches!(kept, Err(TableError::Busy { .. })));
                assert_eq!(kept.unwrap().unwrap(), Kept::Kept);
            }
        }
    };
    let found = std::thread::scope(|threads| {
        let readers = [threads.spawn(|| read(&first)), threads.spawn(|| read(&second))];
        threads.spawn(|| write(&first, 0));
        threads.spawn(|| write(&second, 1));
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(found.iter().all(|&found| found > 0) && first.len() == 8, "{found:?}");
}

#[test]
fn a_row_and_a_fall_at_the_same_moment_do_not_miss_each_other() {
    let table = Table::private(8, Residence::default()).unwrap();
    let ground = [RowGround { kind: 0, number: 42 }];
    let rounds = if cfg!(miri) { 50 } else { 5_000 };
    let (mut late, mut fell) = (0, 0);
    for round in 0..rounds {
        let row = Row::new(key(round), 1, (0, 100), 5, &ground, b"some text").unwrap();
        let begun = table.begin();
        let (kept, fallen) = std::thread::scope(|threads| {
            let falling = threads.spawn(|| table.fall(42));
            let kept = table.put(&row, begun, 5, &empty_list()).unwrap();
            (kept, falling.join().unwrap())
        });
        assert_ne!(get(&table, &row, 50).0, Lookup::Found, "round {round}: {kept:?} {fallen:?}");
        late += u64::from(kept == Kept::Late);
        fell += fallen.len() as u64;
    }
    assert!(late + fell >= rounds, "{late} {fell}");
}

#[test]
fn a_file_that_is_not_the_table_is_refused_in_a_sentence() {
    let folder = Folder::new();
    drop(folder.open(Role::Authority).unwrap());
    let whole = std::fs::read(folder.file()).unwrap();
    let write = |bytes: &[u8]| File::options().write(true).open(folder.file()).unwrap().write_all_at(bytes, 0).unwrap();
    for (at, why) in [(0, "no validation table"), (8, "another version"), (16, "was changed"), (64, "was changed")] {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 1;
        write(&spoilt);
        assert!(folder.why().contains(why) && folder.why().contains("remove the file"), "{at}: {}", folder.why());
    }
    write(&whole);
    drop(folder.open(Role::Authority).unwrap());
    let file = File::options().write(true).open(folder.file()).unwrap();
    for len in [0, 79, 80, 4096, whole.len() as u64 - 1, whole.len() as u64 + 1, 1 << 40] {
        file.set_len(len).unwrap();
        write(&whole[..whole.len().min(usize::try_from(len).unwrap())]);
        let wanted = if len < 80 { "no validation table" } else { "not as long" };
        assert!(folder.why().contains(wanted), "{len}: {}", folder.why());
    }
    std::fs::remove_file(folder.file()).unwrap();
    std::fs::write(folder.file(), &whole).unwrap();
    std::fs::set_permissions(folder.file(), Permissions::from_mode(0o600)).unwrap();
    assert!(folder.why().contains("is a copy"), "{}", folder.why());
    std::fs::remove_file(folder.file()).unwrap();
    drop(folder.open(Role::Authority).unwrap());
    std::fs::hard_link(folder.file(), folder.0.join("link")).unwrap();
    assert!(folder.why().contains("hard link"), "{}", folder.why());
}

#[test]
fn what_is_no_file_or_may_be_others_is_refused_at_once() {
    let folder = Folder::new();
    drop(folder.open(Role::Authority).unwrap());
    for mode in [0o602, 0o620, 0o640, 0o604] {
        std::fs::set_permissions(folder.file(), Permissions::from_mode(mode)).unwrap();
        assert!(folder.why().contains("others than its owner"), "{mode:o}: {}", folder.why());
    }
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
    assert!(folder.why().contains("others than its owner may write"), "{}", folder.why());
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).unwrap();
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
        drop(folder.open(Role::Authority).unwrap());
        std::os::unix::fs::chown(folder.file(), Some(12_345), None).unwrap();
        let why = [Role::Authority, Role::Decide].map(|role| folder.open(role).map(|_| ()).unwrap_err().to_string());
        assert!(why[0].contains("only user 12345") && why[1].contains("belongs to user 12345"), "{why:?}");
    }
}

#[test]
fn a_table_has_the_rows_with_which_it_was_made() {
    let folder = Folder::new();
    let open = |role, rows| Table::open(&folder.0, role, rows, Residence::default());
    let why = open(Role::Decide, None).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("role='authority' first") && !folder.0.exists(), "{why}");
    for rows in [0, MAX_ROWS + 1] {
        assert!(matches!(open(Role::Authority, Some(rows)), Err(TableError::Rows(_))));
    }
    assert_eq!(open(Role::Authority, None).unwrap().capacity(), DEFAULT_ROWS);
    assert_eq!(open(Role::Decide, Some(DEFAULT_ROWS)).unwrap().capacity(), DEFAULT_ROWS);
    let why = open(Role::Authority, Some(8)).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("has 4096 rows, and 8 are wanted"), "{why}");
}

#[test]
fn a_table_whose_file_is_gone_finds_and_keeps_nothing() {
    let folder = Folder::new();
    let table = folder.open(Role::Authority).unwrap();
    let row = row(1, 0);
    put(&table, &row);
    assert!(table.check_file().is_ok());
    std::fs::remove_file(folder.file()).unwrap();
    let why = table.check_file().unwrap_err().to_string();
    assert!(why.contains("removed") && why.contains("open the engine anew"), "{why}");
    assert_eq!(get(&table, &row, row.not_before_ns).0, Lookup::Missing);
    assert!(matches!(table.put(&row, table.begin(), 0, &empty_list()), Err(TableError::Gone { .. })));
}

#[test]
fn a_writer_that_stands_still_keeps_others_waiting_for_a_moment_only() {
    let folder = Folder::new();
    let (first, second) = (folder.open(Role::Authority).unwrap(), folder.open(Role::Authority).unwrap());
    let row = Row::new(key(1), 1, (0, 100), 5, &[RowGround { kind: 0, number: 42 }], b"").unwrap();
    put(&first, &row);
    let held = first.hold(first.set_of(&words_of(&row.key))).unwrap();
    let began = std::time::Instant::now();
    assert!(matches!(second.put(&row, second.begin(), 0, &empty_list()), Err(TableError::Busy { .. })));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(get(&second, &row, 50).0, Lookup::Found, "readers wait for nobody");
    assert_eq!(second.fall(42), [row.key], "whoever revokes waits for nobody");
    drop(held);
    assert_eq!(put(&second, &row), Kept::Kept);
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    Put { number: u64, turn: u64, epoch: u64 },
    Get { number: u64, epoch: u64, at: i64 },
    Fall { number: u64 },
    FallEpoch { epoch: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (number, epoch) = (0..12_u64, 1..3_u64);
    prop_oneof![
        4 => (number.clone(), 0..4_u64, epoch.clone()).prop_map(|(number, turn, epoch)| Step::Put { number, turn, epoch }),
        6 => (number.clone(), epoch.clone(), -2..12_i64).prop_map(|(number, epoch, at)| Step::Get { number, epoch, at }),
        1 => number.prop_map(|number| Step::Fall { number }),
        1 => epoch.prop_map(|epoch| Step::FallEpoch { epoch }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// The model has room for everything. The table may have lost a row, if its set was ever full; it never finds
    /// another one, or one that does not count.
    #[test]
    fn the_table_does_what_a_map_does(steps in prop::collection::vec(step(), 1..120), sets in 1..6_usize) {
        let table = Table::private(8 * sets, Residence::default()).unwrap();
        let mut model: HashMap<(u64, u64), Row> = HashMap::new();
        let mut out = Row::empty();
        for step in steps {
            match step {
                Step::Put { number, turn, epoch } => {
                    let turned = i64::try_from(turn).unwrap();
                    let grounds = [RowGround { kind: 1, number: number % 5 + 1 }, RowGround { kind: 2, number: turn + 50 }];
                    let bounds = (turned, turned + 6);
                    let row = Row::new(key(number), epoch, bounds, 3, &grounds, &number.to_le_bytes()).unwrap();
                    prop_assert_eq!(put(&table, &row), Kept::Kept);
                    model.insert((number, epoch), row);
                }
                Step::Get { number, epoch, at } => {
                    let found = table.get(&key(number), epoch, at, &empty_list(), &mut out);
                    let wanted = model.get(&(number, epoch));
                    let lookup = wanted.map_or(Lookup::Missing, |row| match row.fallen {
                        Some(ground) => Lookup::Fallen(ground),
                        None if at < row.not_before_ns => Lookup::NotYet,
                        None if at >= row.not_after_ns => Lookup::Expired,
                        None => Lookup::Found,
                    });
                    let is_lost = found == Lookup::Missing && model.len() > 8;
                    prop_assert!(found == lookup || is_lost, "{:?} and not {:?}", found, lookup);
                    prop_assert!(found == Lookup::Missing || Some(&out) == wanted);
                }
                Step::Fall { number } => {
                    let ground = number % 5 + 1;
                    let fell = table.fall(ground);
                    let mut wanted = 0;
                    for row in model.values_mut().filter(|row| row.fallen.is_none() && row.rests_on(ground)) {
                        row.fallen = Some(ground);
                        wanted += 1;
                    }
                    prop_assert!(fell.len() == wanted || model.len() > 8 && fell.len() <= wanted);
                }
                Step::FallEpoch { epoch } => {
                    let _ = table.fall_where(|row| (row.epoch == epoch).then_some(70 + epoch));
                    for row in model.values_mut().filter(|row| row.fallen.is_none() && row.epoch == epoch) {
                        row.fallen = Some(70 + epoch);
                    }
                }
            }
        }
        let counters = table.counters();
        prop_assert!(table.len() as u64 + counters.evictions >= model.len().min(8) as u64 && table.len() <= model.len());
    }
}
