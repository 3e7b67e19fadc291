//! Measures look-ups in the validation table, beside those in a map of the same keys in the same run.
//!
//! `cargo run --release --example table_times [rows]`

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use ztfast_identity::{Change, Kept, Lookup, Revocation, Revoked, Row, RowGround, Table};
use ztfast_pages::{Residence, Role};

/// What a caller keeps of a credential takes about so many bytes.
const TEXT: usize = 320;
/// Look-ups of one measurement, and how many are timed together.
const LOOKUPS: usize = 400_000;
const SLICE: u32 = 64;

fn key(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn row(number: u64) -> Result<Row, Box<dyn Error>> {
    let grounds: [RowGround; 7] =
        std::array::from_fn(|at| RowGround { kind: 1, number: number << 8 | at as u64 | 128 });
    Ok(Row::new(key(number), 1, (0, i64::MAX), 5, &grounds, &[7; TEXT])?)
}

/// Return the median and the 99th percentile of slices of look-ups, in nanoseconds a look-up.
fn time(keys: &[[u8; 32]], mut look_up: impl FnMut(&[u8; 32]) -> bool) -> (f64, f64) {
    let mut slices: Vec<f64> = Vec::new();
    let mut found = 0;
    for keys in keys.chunks_exact(SLICE as usize) {
        let began = Instant::now();
        for key in keys {
            found += usize::from(black_box(look_up(key)));
        }
        slices.push(began.elapsed().as_secs_f64() * 1e9 / f64::from(SLICE));
    }
    assert_eq!(found, slices.len() * SLICE as usize, "all keys are there");
    slices.sort_by(f64::total_cmp);
    (slices[slices.len() / 2], slices[slices.len() * 99 / 100])
}

/// Return the keys to look up, at random.
fn at_random(rows: &[u64]) -> Vec<[u8; 32]> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 11).map_or(0, |random| random % rows.len())
    };
    (0..LOOKUPS).map(|_| key(rows[next()])).collect()
}

fn line(out: &mut impl Write, what: &str, (median, high): (f64, f64), map: f64) -> std::io::Result<()> {
    writeln!(out, "{what:<46} {median:>8.0} {high:>8.0} {:>8.1}", median / map)
}

fn measure(out: &mut impl Write, folder: &Path, rows: usize) -> Result<(), Box<dyn Error>> {
    let capacity = rows * 2;
    let revoked = Revoked::open(&folder.join("revoked"), Role::Authority)?;
    let table = Table::open(folder, Role::Authority, Some(capacity), Residence::default())?;
    let list = revoked.current()?;
    let began = Instant::now();
    for number in 0..rows as u64 {
        if table.put(&row(number)?, table.begin(), 5, &list)? != Kept::Kept {
            return Err("a row was not kept".into());
        }
    }
    let put = began.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(rows)?);
    let mut found = Row::empty();
    let kept: Vec<u64> =
        (0..rows as u64).filter(|&number| table.get(&key(number), 1, 9, &list, &mut found) == Lookup::Found).collect();
    let keys = at_random(&kept);
    let map: HashMap<[u8; 32], usize> = kept.iter().map(|&number| (key(number), 1)).collect();
    let whole: HashMap<[u8; 32], Box<Row>> =
        kept.iter().map(|&number| Ok((key(number), Box::new(row(number)?)))).collect::<Result<_, Box<dyn Error>>>()?;
    let of_map = time(&keys, |key| map.contains_key(key));
    writeln!(out, "\n{rows} rows in {capacity}, {} kept; the map's look-up takes 1", kept.len())?;
    writeln!(out, "{:<46} {:>8} {:>8} {:>8}", "", "p50 ns", "p99 ns", "ratio")?;
    line(out, "a map of the keys alone", of_map, of_map.0)?;
    let copied = time(&keys, |key| {
        whole.get(key).is_some_and(|row| {
            found.clone_from(row);
            true
        })
    });
    line(out, "a map of rows, copied", copied, of_map.0)?;
    drop(whole);
    let get = time(&keys, |key| table.get(key, 1, 9, &list, &mut found) == Lookup::Found);
    line(out, "the table, its list unchanged", get, of_map.0)?;
    let text = |text: &str| text.to_owned();
    let (kind, shown, by, reason) = (text("key"), text("a key"), text("ann"), text("lost"));
    let line_of = Revocation {
        kind,
        digest: [1; 32],
        shown,
        by,
        reason,
        at: text("2026-01-02T03:04:05Z"),
        what: Change::Revoked,
    };
    let began = Instant::now();
    let list = revoked.append(&line_of)?;
    let append = began.elapsed().as_secs_f64() * 1e6;
    let get = time(&keys, |key| table.get(key, 1, 9, &list, &mut found) == Lookup::Found);
    line(out, "the table, once after something was revoked", get, of_map.0)?;
    let get =
        time(&keys, |key| revoked.current().is_ok_and(|list| table.get(key, 1, 9, &list, &mut found) == Lookup::Found));
    line(out, "the list asked for, and the table", get, of_map.0)?;
    let missing: Vec<[u8; 32]> = (0..LOOKUPS as u64).map(|number| key(number | 1 << 40)).collect();
    let get = time(&missing, |key| table.get(key, 1, 9, &list, &mut found) == Lookup::Missing);
    line(out, "a key that is not in the table", get, of_map.0)?;
    let one = vec![keys[0]; LOOKUPS];
    let get = time(&one, |key| table.get(key, 1, 9, &list, &mut found) == Lookup::Found);
    line(out, "the same key each time", get, of_map.0)?;
    line(out, "  (the map)", time(&one, |key| map.contains_key(key)), of_map.0)?;
    let contains = time(&keys, |key| !list.contains(black_box(u64::from(key[0]))));
    line(out, "is a ground revoked?", contains, of_map.0)?;
    let began = Instant::now();
    let fell = table.fall(1 << 8 | 128).len();
    let fall = began.elapsed().as_secs_f64() * 1e3;
    writeln!(out, "put {put:.0} ns; append to the list {append:.0} us; fall of {fell} of {rows} rows {fall:.1} ms")?;
    std::fs::remove_file(folder.join("credentials"))?;
    std::fs::remove_file(folder.join("revoked"))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1).map(|given| given.parse::<usize>()).transpose()?;
    let shared = Path::new("/dev/shm");
    let above = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let folder: PathBuf = above.join(format!("ztfast-table-times-{}", std::process::id()));
    let mut out = std::io::stdout();
    let sizes = given.map_or_else(|| vec![2_048, 1_000_000], |rows| vec![rows]);
    let done = sizes.into_iter().try_for_each(|rows| measure(&mut out, &folder, rows));
    let _ = std::fs::remove_dir_all(folder);
    done
}
