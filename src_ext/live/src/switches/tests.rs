//! Tests of kills and markets: what is written is read, by threads too; what half a writer or a broken memory leaves.

use super::*;
use crate::refusal::MARKETS;
use crate::uid_bits::uid_bit;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use zerocopy::FromZeros;

const NOW: i64 = 1_000;

fn switches() -> Box<Switches> {
    Switches::new_box_zeroed().unwrap()
}

fn write(switches: &Switches) -> Writer<'_> {
    switches.writer(NOW)
}

fn entity(ty: &str, id: &str) -> Scope {
    Scope::Entity(ty.to_owned(), id.to_owned())
}

fn kill(id: u64, scope: Scope) -> Kill {
    Kill {
        id,
        scope,
        actions: Stopped::Usual,
        members: Vec::new(),
        by: "ann".to_owned(),
        reason: "a test".to_owned(),
        since_ns: 7,
        until_ns: None,
        two_persons: false,
        asked_by: None,
        by_switch: false,
    }
}

fn named(id: u64, actions: &[&str], members: &[&str]) -> Kill {
    let uid = |action: &&str| ("Action".to_owned(), (*action).to_owned());
    let members = members.iter().map(|action| uid_hash("Action", action)).collect();
    Kill { actions: Stopped::Named(actions.iter().map(uid).collect()), members, ..kill(id, Scope::Firm) }
}

fn action(id: &str, groups: &[&str], exempt: bool) -> ActionKey {
    let groups = groups.iter().map(|group| uid_hash("Action", group)).collect();
    ActionKey { exempt, own: uid_hash("Action", id), groups }
}

/// Return whether an action is stopped for an entity.
fn stops(switches: &Switches, action: &ActionKey, (ty, id): (&str, &str)) -> bool {
    let stops = |bits| bits != 0 && switches.stop(bits, Some(action), NOW, |scope| scope.is(ty, id));
    let (all, own) = (stops(switches.word()), stops(switches.word() & (FIRM | uid_bit(uid_hash(ty, id)))));
    assert_eq!(all, own, "the bits leave out what stops {ty} {id}");
    own
}

const AAPL: (&str, &str) = ("Instrument", "AAPL");
const MSFT: (&str, &str) = ("Instrument", "MSFT");

#[test]
fn nothing_is_killed_at_first() {
    let switches = switches();
    assert_eq!((switches.word(), switches.market_word()), (0, 0));
    assert!(!switches.stop(u64::MAX, None, NOW, |_| true));
    assert!(switches.kills(NOW).is_empty() && switches.markets().is_empty());
    assert_eq!(switches.market("Instrument", "AAPL"), MarketState::Normal);
}

#[test]
fn a_kill_stops_its_scope_until_it_is_released() {
    let switches = switches();
    let new = action("order.new", &[], false);
    let one = kill(5, entity("Instrument", "AAPL"));
    write(&switches).kill(&one).unwrap();
    assert!(stops(&switches, &new, AAPL));
    let others =
        [MSFT, ("Venue", "AAPL"), ("Instrument", "AAP"), ("Instrument", "AAPLL"), ("Instrumenu", "AAPL"), ("", "")];
    for other in others {
        assert!(!stops(&switches, &new, other), "{other:?}");
    }
    assert_eq!(switches.kills(NOW), [one]);
    assert_eq!(write(&switches).release(6, "ann", None), Err(SwitchError::UnknownKill(6)));
    assert!(stops(&switches, &new, AAPL));
    assert_eq!(write(&switches).release(5, "ann", None), Ok(Released::Done));
    assert!(!stops(&switches, &new, AAPL) && switches.word() == 0);
    assert_eq!(write(&switches).release(5, "ann", None), Err(SwitchError::UnknownKill(5)));
}

#[test]
fn a_kill_stops_its_actions() {
    let cancel = action("order.cancel", &["reduce-risk"], true);
    let new = action("order.new", &["trade", "all"], false);
    let stopped = |kill: Kill| {
        let switches = switches();
        write(&switches).kill(&kill).unwrap();
        assert_eq!(switches.kills(NOW), [kill]);
        // An action that a bundle lacks is stopped as soon as anything is.
        assert!(switches.stop(FIRM, None, NOW, |_| false));
        [&cancel, &new].map(|action| stops(&switches, action, AAPL))
    };
    assert_eq!(stopped(kill(1, Scope::Firm)), [false, true]);
    assert_eq!(stopped(Kill { actions: Stopped::Everything, ..kill(1, Scope::Firm) }), [true, true]);
    assert_eq!(stopped(named(1, &["order.cancel"], &[])), [true, false]);
    assert_eq!(stopped(named(1, &["reduce-risk", "all"], &[])), [true, true]);
    assert_eq!(stopped(named(1, &["gone"], &["order.new"])), [false, true]);
    // An action that was in a group does not stand for the actions that are in it.
    assert_eq!(stopped(named(1, &["gone"], &["trade"])), [false, false]);
    assert_eq!(stopped(named(1, &[], &[])), [false, false]);
    let odd = ["", ":", "3:a", "1", "\0\n\u{e9}", "9999999999999999999999:"];
    assert_eq!(stopped(named(1, &odd, &[])), [false, false]);
}

#[test]
fn a_kill_whose_time_is_over_stops_nothing() {
    let switches = switches();
    let new = action("order.new", &[], false);
    write(&switches).kill(&Kill { until_ns: Some((99, NOW + 1)), ..kill(5, entity("Instrument", "AAPL")) }).unwrap();
    assert!(stops(&switches, &new, AAPL));
    let bits = switches.word();
    assert!(!switches.stop(bits, Some(&new), NOW + 1, |_| true));
    assert!(switches.kills(NOW + 1).is_empty());
    assert_eq!(switches.writer(NOW + 1).release(5, "ann", None), Err(SwitchError::UnknownKill(5)));
    assert_eq!(switches.word(), 0);
}

#[test]
fn two_persons_release_a_kill_where_two_must() {
    let (ann, bob) = ("ann", "bob");
    let same = |name: &str| Err(SwitchError::SamePerson(name.to_owned()));
    let both = |first: (&str, Option<&str>), second: Option<(&str, Option<&str>)>| {
        let switches = switches();
        write(&switches).kill(&Kill { two_persons: true, ..kill(5, Scope::Firm) }).unwrap();
        let mut done = write(&switches).release(5, first.0, first.1);
        let asked = switches.kills(NOW).first().map(|kill| kill.asked_by.clone());
        assert_eq!(
            asked,
            (done != Ok(Released::Done)).then(|| (done == Ok(Released::Asked)).then(|| first.0.to_owned()))
        );
        if let Some((by, approved_by)) = second {
            done = write(&switches).release(5, by, approved_by);
        }
        assert_eq!(switches.kills(NOW).is_empty(), done == Ok(Released::Done));
        done
    };
    assert_eq!(both((ann, None), None), Ok(Released::Asked));
    assert_eq!(both((ann, None), Some((bob, None))), Ok(Released::Done));
    assert_eq!(both((ann, None), Some((ann, None))), same(ann));
    assert_eq!(both((ann, None), Some((" ANN\t", None))), same(" ANN\t"));
    assert_eq!(both((ann, Some(bob)), None), Ok(Released::Done));
    assert_eq!(both((ann, Some("Ann")), None), same(ann));
    assert_eq!(both((ann, None), Some((ann, Some(bob)))), Ok(Released::Done));
    // A record that is used again does not keep who asked for the release of another kill.
    let switches = switches();
    for _ in 0..2 {
        write(&switches).kill(&Kill { two_persons: true, ..kill(5, Scope::Firm) }).unwrap();
        assert_eq!(write(&switches).release(5, ann, None), Ok(Released::Asked));
        assert_eq!(write(&switches).release(5, bob, None), Ok(Released::Done));
    }
    // Where one is enough, another may approve all the same, but nobody their own.
    write(&switches).kill(&kill(5, Scope::Firm)).unwrap();
    assert_eq!(write(&switches).release(5, ann, Some(ann)), same(ann));
    assert_eq!(write(&switches).release(5, ann, Some(bob)), Ok(Released::Done));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let switches = switches();
    let long = "x".repeat(1_000);
    let refused = [
        Kill { by: long.clone(), ..kill(1, Scope::Firm) },
        Kill { reason: long.clone(), ..kill(1, Scope::Firm) },
        kill(1, entity(&long, "a")),
        kill(1, entity("T", &long)),
        named(1, &[&long, &long, &long], &[]),
    ];
    for kill in refused {
        let error = write(&switches).kill(&kill).unwrap_err();
        assert!(matches!(error, SwitchError::TooLong { .. }), "{error}");
    }
    assert_eq!(write(&switches).kill(&named(1, &["a"], &["b"; ACTIONS])), Err(SwitchError::ManyActions(ACTIONS + 1)));
    let writer = write(&switches);
    for uid in [(&*long, "a"), ("T", &*long)] {
        let error = writer.set_market(uid, MarketState::Halted, "ann", "", 0).unwrap_err();
        assert!(matches!(error, SwitchError::TooLong { .. }), "{error}");
    }
    assert!(writer.set_market(AAPL, MarketState::Halted, &long, "", 0).is_err());
    assert!(writer.set_market(AAPL, MarketState::Halted, "", &long, 0).is_err());
    assert_eq!((switches.word(), switches.market_word()), (0, 0));
    assert!(switches.kills(NOW).is_empty() && switches.markets().is_empty());
    // What just fits is kept.
    let most = Kill { by: "y".repeat(128), reason: "z".repeat(256), ..kill(1, entity(&long[..248], &long[..248])) };
    writer.kill(&most).unwrap();
    assert_eq!(switches.kills(NOW), [most]);
    assert!(writer.release(1, &long, None).is_err());
}

#[test]
fn one_kill_too_many_is_refused() {
    let switches = switches();
    let writer = write(&switches);
    let most = KILLS - FOR_ALL;
    let all: Vec<Kill> = (0..most as u64).map(|id| kill(id, entity("Algo", &id.to_string()))).collect();
    for kill in &all {
        writer.kill(kill).unwrap();
    }
    assert_eq!(writer.kill(&kill(9_999, entity("Algo", "x"))), Err(SwitchError::ManyKills));
    assert_eq!(switches.kills(NOW), all);
    let new = action("order.new", &[], false);
    assert!((0..most).all(|id| stops(&switches, &new, ("Algo", &id.to_string()))));
    assert!((most..2 * most).all(|id| !stops(&switches, &new, ("Algo", &id.to_string()))));
    for id in 0..FOR_ALL as u64 {
        writer.kill(&Kill { by: id.to_string(), ..kill(10_000 + id, Scope::Firm) }).unwrap();
    }
    assert!(stops(&switches, &new, ("Algo", "x")));
    assert_eq!(writer.kill(&kill(9_999, Scope::Firm)), Err(SwitchError::ManyKills));
    // What is killed already takes no other record.
    assert_eq!(writer.kill(&kill(9_999, entity("Algo", "3"))).map(|kill| kill.id), Ok(3));
    for id in 0..FOR_ALL as u64 {
        writer.release(10_000 + id, "ann", None).unwrap();
    }
    writer.release(77, "ann", None).unwrap();
    assert!(!stops(&switches, &new, ("Algo", "77")) && stops(&switches, &new, ("Algo", "78")));
    writer.kill(&kill(9_999, Scope::Firm)).unwrap();
    assert!(stops(&switches, &new, ("Algo", "77")));
}

#[test]
fn markets_keep_their_states_while_others_come_and_go() {
    let switches = switches();
    let writer = write(&switches);
    let states = [MarketState::Normal, MarketState::Volatile, MarketState::Halted];
    let mut wanted = std::collections::BTreeMap::new();
    // Twice as many as there is room for, of which at most half are not normal at a time.
    for step in 0..if cfg!(miri) { 60_usize } else { 10_000 } {
        let id = (step * 7919 % (2 * MARKETS)).to_string();
        let state = if wanted.len() >= MARKETS / 2 { MarketState::Normal } else { states[step / 3 % 3] };
        writer.set_market(("Instrument", &id), state, "ann", "a test", step.try_into().unwrap()).unwrap();
        if state == MarketState::Normal {
            wanted.remove(&id);
        } else {
            wanted.insert(id.clone(), state);
        }
        let asked = ((step * 31) % (2 * MARKETS)).to_string();
        for id in [&id, &asked] {
            let state = wanted.get(id).copied().unwrap_or(MarketState::Normal);
            assert_eq!(switches.market("Instrument", id), state, "{id} at {step}");
            assert!(state == MarketState::Normal || switches.market_word() & uid_bit(uid_hash("Instrument", id)) != 0);
        }
    }
    let mut listed: Vec<_> = switches.markets().into_iter().map(|market| (market.uid.1, market.state)).collect();
    listed.sort();
    assert_eq!(listed, wanted.clone().into_iter().collect::<Vec<_>>());
    for id in wanted.keys() {
        writer.set_market(("Instrument", id), MarketState::Normal, "ann", "", 0).unwrap();
    }
    assert_eq!(switches.market_word(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "it fills whole tables, which takes Miri minutes")]
fn one_market_too_many_is_refused() {
    let switches = switches();
    let writer = write(&switches);
    let set = |id: usize, state| writer.set_market(("I", &id.to_string()), state, "ann", "why", 3);
    (0..MARKETS).for_each(|id| assert_eq!(set(id, MarketState::Halted), Ok(true)));
    assert_eq!(set(MARKETS, MarketState::Volatile), Err(SwitchError::ManyMarkets));
    assert_eq!(set(MARKETS, MarketState::Normal), Ok(false));
    assert_eq!(switches.markets().len(), MARKETS);
    set(3, MarketState::Normal).unwrap();
    set(MARKETS, MarketState::Volatile).unwrap();
    assert_eq!(switches.market("I", "3"), MarketState::Normal);
    assert_eq!(switches.market("I", &MARKETS.to_string()), MarketState::Volatile);
    assert_eq!(switches.market("I", "4"), MarketState::Halted);
}

#[test]
fn a_market_says_who_set_it() {
    let switches = switches();
    let writer = write(&switches);
    for (state, by, at) in [(MarketState::Volatile, "ann", 1), (MarketState::Halted, "bob", 2)] {
        writer.set_market(AAPL, state, by, "news", at).unwrap();
        let uid = (AAPL.0.to_owned(), AAPL.1.to_owned());
        let market = Market { uid, state, by: by.to_owned(), reason: "news".to_owned(), since_ns: at };
        assert_eq!(switches.markets(), [market]);
    }
    assert_eq!(MarketState::of("halted"), Some(MarketState::Halted));
    assert_eq!(MarketState::of("Halted"), None);
}

/// A writer is killed after it withdrew a record, wrote some fields or set a bit. The next one finds all in order.
#[test]
fn what_half_a_writer_left_is_not_seen_and_is_used_again() {
    let switches = switches();
    let new = action("order.new", &[], false);
    write(&switches).kill(&kill(1, entity("Instrument", "AAPL"))).unwrap();
    // Half of a kill: its bit, its place and some fields.
    switches.word.fetch_or(FIRM, Ordering::Relaxed);
    switches.used[0].fetch_or(2, Ordering::Relaxed);
    switches.kills[1].id.store(2, Ordering::Relaxed);
    switches.kills[1].until_ns.store(i64::MAX, Ordering::Relaxed);
    assert!(!stops(&switches, &new, MSFT) && stops(&switches, &new, AAPL));
    assert_eq!(switches.kills(NOW).len(), 1);
    // Half of a release.
    switches.states[0].withdraw();
    assert!(!stops(&switches, &new, AAPL));
    let _ = write(&switches);
    assert_eq!(switches.word(), 0);
    // Half of a request for a release.
    write(&switches).kill(&Kill { two_persons: true, ..kill(3, Scope::Firm) }).unwrap();
    switches.kills[0].asked_by.write("an");
    assert_eq!(switches.kills(NOW)[0].asked_by, None);
    assert_eq!(write(&switches).release(3, "bob", None), Ok(Released::Asked));
}

#[test]
fn broken_memory_is_read_within_bounds_and_stops_rather_than_allows() {
    for byte in [0xff_u8, 0x80, 0x01, 0x55] {
        let mut switches = switches();
        // SAFETY: all fields are atomic words, for which every pattern of bits is valid, or padding.
        unsafe { std::ptr::write_bytes(&raw mut *switches, byte, 1) };
        let new = action("order.new", &["trade"], false);
        let stops_firm = || switches.stop(FIRM, Some(&new), NOW, |_| false);
        let was_stopped = stops_firm();
        let _ = switches.market("Instrument", "AAPL");
        assert!(switches.kills(NOW).len() <= KILLS && switches.markets().len() <= MARKETS);
        let writer = write(&switches);
        let killed = writer.kill(&kill(7, Scope::Firm));
        assert_eq!(stops_firm(), killed.is_ok() || was_stopped, "{byte:x}");
        assert_eq!(writer.release(7, "ann", None).is_ok(), killed.is_ok(), "{byte:x}");
        let halted = writer.set_market(AAPL, MarketState::Halted, "ann", "", 0);
        assert!(halted.is_err() || switches.market("Instrument", "AAPL") == MarketState::Halted);
    }
    // A length that cannot be right, and bytes that are no text.
    let switches = switches();
    let new = action("order.new", &[], false);
    write(&switches).kill(&kill(1, entity("Instrument", "AAPL"))).unwrap();
    let bits = switches.word();
    let text = &switches.kills[0].id_text;
    text.overwrite(u64::MAX, u64::MAX);
    assert!(switches.stop(bits, Some(&new), NOW, |scope| scope.is("Instrument", "MSFT")));
    assert!(matches!(&switches.kills(NOW)[0].scope, Scope::Entity(_, id) if id.contains('\u{fffd}')));
    assert_eq!(write(&switches).release(1, "ann", None), Ok(Released::Done));
}

#[test]
fn a_record_that_changes_all_the_time_stops() {
    let switches = switches();
    let new = action("order.new", &[], false);
    write(&switches).kill(&kill(1, entity("Instrument", "AAPL"))).unwrap();
    let mut asked = 0;
    let stopped = switches.stop(switches.word(), Some(&new), NOW, |_| {
        asked += 1;
        switches.states[0].publish(u64::from(bit_number(uid_hash(AAPL.0, AAPL.1))));
        false
    });
    assert!(stopped && asked == 16, "asked {asked} times");
}

/// Threads read while others kill and release: no reader sees a mixture of two kills, and what a writer did before is
/// seen.
#[test]
fn threads_see_whole_kills_and_what_was_done_before() {
    let switches = switches();
    let lock = Mutex::new(());
    let guarded = |job: &dyn Fn()| {
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        job();
    };
    let rounds = if cfg!(miri) { 5 } else { 3_000 };
    let (over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let new = action("order.new", &[], false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = ["ann", "bob"]
            .into_iter()
            .map(|by| {
                let (switches, new, guarded, seen) = (&switches, &new, &guarded, &seen);
                threads.spawn(move || {
                    for round in 0..100 * rounds {
                        // The reader may begin late.
                        if round >= rounds && (cfg!(miri) || seen.load(Ordering::Relaxed) > 0) {
                            break;
                        }
                        let name = format!("{by} {round}").repeat(1 + round % 5);
                        let id = uid_hash(by, &name);
                        let kill = Kill { by: name.clone(), reason: name.clone(), ..kill(id, entity(by, &name)) };
                        guarded(&|| drop(switches.writer(NOW).kill(&kill).unwrap()));
                        assert!(stops(switches, new, (by, &name)), "{name} goes on");
                        guarded(&|| {
                            assert_eq!(switches.writer(NOW).release(id, by, None), Ok(Released::Done));
                        });
                        assert!(!stops(switches, new, (by, &name)), "{name} does not go on");
                        let state = if round % 9 == 0 { MarketState::Normal } else { MarketState::Halted };
                        let market = ("Instrument", by);
                        guarded(&|| {
                            switches.writer(NOW).set_market(market, state, &name, &name, 0).unwrap();
                        });
                        assert_eq!(switches.market("Instrument", by), state);
                    }
                })
            })
            .collect();
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for kill in switches.kills(NOW) {
                    let Scope::Entity(ty, name) = &kill.scope else { panic!("{kill:?}") };
                    assert_eq!((kill.id, &kill.by, &kill.reason), (uid_hash(ty, name), name, name));
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                for market in switches.markets() {
                    assert!(market.state == MarketState::Halted && market.by.starts_with(&market.uid.1));
                    assert_eq!(market.by, market.reason);
                }
            }
            assert!(seen.load(Ordering::Relaxed) > 0 || cfg!(miri), "no kill was seen");
        });
        for writer in writers {
            writer.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(switches.word(), 0);
}

#[test]
fn who_kills_the_same_again_prolongs_the_kill_and_takes_no_other_record() {
    let switches = switches();
    let writer = write(&switches);
    let new = action("order.new", &[], false);
    let aapl = || entity("Instrument", "AAPL");
    let until = |ns: i64| Some((ns + 50, ns));
    let first = Kill { until_ns: until(NOW + 10), ..kill(1, aapl()) };
    assert_eq!(writer.kill(&first), Ok(first.clone()));
    for (id, end, kept) in
        [(2, until(NOW + 5), until(NOW + 10)), (3, until(NOW + 90), until(NOW + 90)), (4, None, None)]
    {
        let again = Kill { reason: "another".to_owned(), since_ns: 99, until_ns: end, ..kill(id, aapl()) };
        let longer = Kill { until_ns: kept, ..first.clone() };
        assert_eq!(writer.kill(&again), Ok(longer.clone()), "{id}");
        assert_eq!(switches.kills(NOW), [longer]);
    }
    // A kill without an end keeps none.
    assert_eq!(writer.kill(&Kill { until_ns: until(NOW + 5), ..kill(5, aapl()) }).map(|kill| kill.until_ns), Ok(None));
    assert!(switches.stop(u64::MAX, Some(&new), NOW + 1_000, |scope| scope.is("Instrument", "AAPL")));
    for _ in 0..if cfg!(miri) { 2 } else { 2 * KILLS } {
        writer.kill(&kill(6, aapl())).unwrap();
    }
    let others = [
        Kill { by: "bob".to_owned(), ..kill(11, aapl()) },
        kill(12, entity("Instrument", "MSFT")),
        kill(13, Scope::Firm),
        Kill { actions: Stopped::Everything, ..kill(14, aapl()) },
        Kill { two_persons: true, ..kill(15, aapl()) },
        Kill { by_switch: true, ..kill(16, aapl()) },
        Kill { scope: aapl(), ..named(17, &["order.new"], &[]) },
    ];
    for other in &others {
        assert_eq!(writer.kill(other).as_ref(), Ok(other));
    }
    assert_eq!(switches.kills(NOW).len(), 1 + others.len());
    assert_eq!(writer.release(1, "ann", None), Ok(Released::Done));
    assert_eq!(switches.kills(NOW), others);
}

#[test]
fn a_kill_that_is_made_again_is_as_if_nobody_had_asked_for_its_release() {
    let switches = switches();
    let writer = write(&switches);
    let two = Kill { two_persons: true, ..kill(1, Scope::Firm) };
    writer.kill(&two).unwrap();
    assert_eq!(writer.release(1, "ann", None), Ok(Released::Asked));
    assert_eq!(writer.kill(&two).map(|kill| kill.asked_by), Ok(None));
    assert_eq!(switches.kills(NOW), [two]);
    assert_eq!(writer.release(1, "bob", None), Ok(Released::Asked));
    assert_eq!(writer.release(1, "ann", None), Ok(Released::Done));
}

#[test]
fn readers_see_a_whole_name_of_who_asked_while_others_ask() {
    let record = KillRecord::new_box_zeroed().unwrap();
    let names = ["ann", "bob", "eve"].map(|name| name.repeat(42));
    let rounds = if cfg!(miri) { 8 } else { 1_000_000 };
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for round in 0..rounds {
                record.ask(&names[round % names.len()], 7);
                assert_eq!((record.asked_by(7).as_ref(), record.asked_by(8)), (names.get(round % names.len()), None));
            }
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let found = record.asked_by(7);
            assert!(found.as_ref().is_none_or(|found| names.contains(found)), "{found:?}");
        }
    });
    record.void_request();
    assert_eq!(record.asked_by(7), None);
}

#[test]
fn a_group_that_has_other_actions_by_now_is_stopped_with_those_before_too() {
    let switches = switches();
    let writer = write(&switches);
    writer.kill(&named(1, &["trade"], &["order.new"])).unwrap();
    let both = writer.kill(&named(2, &["trade"], &["order.amend", "order.new"])).unwrap();
    assert_eq!((both.id, switches.kills(NOW)), (1, vec![both.clone()]));
    for id in ["order.new", "order.amend"] {
        assert!(stops(&switches, &action(id, &[], false), AAPL), "{id}");
    }
    assert_eq!(writer.kill(&named(3, &["trade"], &["order.new"])), Ok(both));
}

#[test]
fn what_is_over_or_was_left_behind_is_known_to_be_stale() {
    let switches = switches();
    assert!(!switches.is_stale(NOW));
    write(&switches).kill(&Kill { until_ns: Some((0, NOW + 10)), ..kill(1, entity("Instrument", "AAPL")) }).unwrap();
    assert!(!switches.is_stale(NOW + 9) && switches.is_stale(NOW + 10));
    let _settled = switches.writer(NOW + 10);
    assert!(!switches.is_stale(NOW + 10) && switches.word() == 0);
    switches.word.fetch_or(1 << 5, Ordering::Relaxed);
    assert!(switches.is_stale(NOW));
    let _settled = write(&switches);
    assert!(!switches.is_stale(NOW) && switches.word() == 0);
}

/// A reader may be on its way when a kill moves to a record that it has passed.
#[test]
fn a_kill_that_moves_to_another_record_is_in_force_all_the_time() {
    let switches = switches();
    let writer = write(&switches);
    let new = action("order.new", &["orders"], false);
    writer.kill(&kill(1, entity("Desk", "d0"))).unwrap();
    writer.kill(&kill(2, entity("Desk", "d1"))).unwrap();
    let of_d2 = |id, members: &[&str]| Kill { scope: entity("Desk", "d2"), ..named(id, &["orders"], members) };
    writer.kill(&of_d2(3, &["order.new"])).unwrap();
    writer.release(1, "zoe", None).unwrap();
    let mut has_moved = false;
    let stops = switches.stop(u64::MAX, Some(&new), NOW, |scope| {
        if !has_moved {
            has_moved = true;
            writer.kill(&of_d2(4, &["order.new", "order.more"])).unwrap();
        }
        scope.is("Desk", "d2")
    });
    assert!(has_moved && stops);
}

#[test]
fn what_is_let_go_on_all_the_time_stops() {
    let switches = switches();
    let writer = write(&switches);
    writer.kill(&kill(1, entity("Desk", "d1"))).unwrap();
    let mut id = 1;
    let stops = switches.stop(u64::MAX, None, NOW, |_| {
        // The reader never sees one moment of the table.
        id += 1;
        writer.kill(&kill(id, entity("Desk", &format!("d{id}")))).unwrap();
        writer.release(id - 1, "zoe", None).unwrap();
        false
    });
    assert!(stops);
}
