//! Decides, changes and queries in every way over a bundle that may hold nonsense.

use super::{changed_user, uid};
use std::sync::Arc;
use std::time::Duration;
use ztfast_bundle::{Bundle, Parts};
use ztfast_engine::{
    Admission, Code, Column, Decision, Determining, Engine, EngineOptions, Handle, Principals, RequestBuilder,
    SessionId,
};
use ztfast_vm::Value;

/// Return how long this thread has run on a processor: other work of the machine does not count.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is exclusively borrowed during the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Query everything of the bundle, and return the codes of the decisions; none if the bundle is refused.
pub fn decide_all(parts: &Parts) -> Vec<Code> {
    let Ok(bundle) = Bundle::of(parts) else { return Vec::new() };
    let options = EngineOptions { sessions: 4, handles: 16, ..EngineOptions::default() };
    let engine = Engine::new(Arc::new(bundle), None, options).unwrap();
    let mut codes = Vec::new();
    let users: Vec<Handle> = ["u", "v", "new"].iter().map(|id| engine.handle("User", id).unwrap()).collect();
    let docs: Vec<Handle> = ["d", "new"].iter().map(|id| engine.handle("Doc", id).unwrap()).collect();
    let sessions: Vec<SessionId> = users
        .iter()
        .map(|&principal| engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap())
        .collect();
    if let Ok(mut gate) = engine.prepare("Action", "view", &["n", "s", "who"]) {
        let mut determining = Determining::default();
        for &session in &sessions {
            for &doc in &docs {
                for n in [1, 8] {
                    gate.begin();
                    let s = gate.text("unknown x").unwrap_or(0);
                    let who = gate.entity(users[0], 2).unwrap_or(0);
                    codes.push(gate.allows(session, doc, &[n, s, who]).code());
                    gate.begin();
                    codes.push(gate.decide(session, doc, &[n, 0, 0], &mut determining).code());
                }
            }
        }
        let mut out = [Decision::CORRUPT; 3];
        let ids: Vec<u64> = sessions.iter().map(|session| session.0).collect();
        let one = [docs[0].0];
        let columns = [Column::all(&[8_i64]), Column::all(&[0]), Column::all(&[0])];
        let _ =
            gate.batch().decide_many(Principals::Sessions(Column::each(&ids)), Column::all(&one), &columns, &mut out);
    }
    // Whether the change succeeds over spoilt tables does not matter; decisions must go on.
    let _ = engine.change(&[changed_user("u")], &[uid("Team", "t")]);
    if let Ok(mut gate) = engine.prepare("Action", "view", &["n", "s", "who"]) {
        for &session in &sessions {
            codes.push(gate.allows(session, docs[0], &[8, 0, 0]).code());
        }
    }
    let snapshot = engine.snapshot();
    let slots = snapshot.bundle().actions().first().map_or(0, |action| action.slots.len as usize);
    for slots in [3, 0, slots] {
        let mut builder = RequestBuilder::new(&snapshot, slots);
        let (Some(user), Some(doc)) = (builder.entity("User", "u"), builder.entity("Doc", "d")) else { continue };
        let text = builder.text("fresh");
        builder.put(0, Value::number(ztfast_vm::Tag::Long, 8));
        builder.put(1, text);
        let request = builder.finish();
        let mut determining = Determining::default();
        for action in [0, 1, u32::MAX] {
            codes.push(engine.evaluate(&snapshot, action, user, doc, &request, &mut determining));
            let resources = snapshot.resources(action);
            assert_eq!(snapshot.entitlements(action, user, &resources, &request, None).len(), resources.len());
        }
    }
    let bundle = snapshot.bundle();
    // Listing the policies reaches all their annotations.
    let _ = (0_u32..).map_while(|number| bundle.policy(number)).map(|policy| policy.annotations.len()).sum::<usize>();
    engine.swap(bundle.clone(), None).unwrap();
    codes
}
