//! The comparison of one case: Cedar decides it, and the engine in every way.

use crate::case::{Ask, Case, entity_file, uid_of};
use crate::counts::Counts;
use crate::desk::Desk;
use crate::programs::Programs;
use std::sync::Arc;
use ztfast_bundle::{Bundle, Form};
use ztfast_cedar::{Answer, CedarStore, EntityReader, Mode};
use ztfast_compile::Options;
use ztfast_engine::{Handle, SessionId};
use ztfast_explain::{Cedar, entity_data};

/// Compare a case, whose requests are given as values. `Err` describes a difference.
pub(crate) fn compare(
    case: &Case,
    asks: &[Vec<Ask>],
    forms: &[(Option<Form>, bool)],
    counts: &mut Counts,
) -> Result<(), String> {
    let Built { mut cedar, mut store, bundles } = build(case, forms, counts)?;
    let mut entities = case.entities.clone();
    let mut desks = Vec::new();
    for (form, bundle) in bundles {
        let fallback = fallback(&cedar, &bundle);
        desks.push(Desk::new(form, bundle, fallback)?);
    }
    let reader = EntityReader::new(&case.sources().schema).map_err(|e| e.to_string())?;
    for (number, (step, asks)) in case.steps.iter().zip(asks).enumerate() {
        let told = |what: String| format!("step {number}: {what}");
        let changes = !step.upsert.is_empty() || !step.remove.is_empty();
        if changes || step.swap.is_some() {
            for ways in desks.iter_mut().flat_map(|desk| desk.gates.values_mut()) {
                ways.fail()?;
            }
        }
        if let Some(swap) = &step.swap {
            // Each engine swaps to another form.
            let forms: Vec<_> = forms.iter().cycle().skip(1).take(forms.len()).copied().collect();
            let built = build(&case.swapped(swap, &entities), &forms, counts).map_err(told)?;
            (cedar, store) = (built.cedar, built.store);
            for (desk, (form, bundle)) in desks.iter_mut().zip(built.bundles) {
                let fallback = fallback(&cedar, &bundle);
                desk.swap(form, bundle, fallback).map_err(told)?;
            }
        }
        if changes {
            change(&mut entities, step);
            store =
                cedar.authorizer().store(Some(&entity_file(&entities))).map_err(|e| format!("Cedar refuses: {e}"))?;
            let upserts = reader.read(&entity_file(&step.upsert)).map_err(|e| e.to_string())?;
            let upserts: Vec<_> = upserts.into_iter().map(entity_data).collect();
            let removals: Vec<_> =
                step.remove.iter().filter_map(uid_of).map(|u| (u.ty.to_string(), u.id.to_string())).collect();
            for desk in &mut desks {
                desk.engine.change(&upserts, &removals).map_err(|e| told(e.to_string()))?;
            }
        }
        if changes || step.swap.is_some() {
            for ways in desks.iter_mut().flat_map(|desk| desk.gates.values_mut()) {
                ways.early = Some(ways.gate.batch());
                // This decision ends the call that failed; its code does not matter.
                let _ = ways.gate.allows(SessionId(0), Handle(0), &[]);
            }
        }
        step_through(&cedar, &store, &mut desks, asks, counts).map_err(told)?;
    }
    Ok(())
}

/// What is made of a case: Cedar, its store, and a bundle of each form.
struct Built {
    cedar: Arc<Cedar>,
    store: CedarStore,
    bundles: Vec<(Option<Form>, Arc<Bundle>)>,
}

fn build(case: &Case, forms: &[(Option<Form>, bool)], counts: &mut Counts) -> Result<Built, String> {
    let sources = case.sources();
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).map_err(|e| format!("refused: {e}"))?;
    counts.worlds += 1;
    counts.strict += u64::from(loaded.strict);
    counts.strict_errors += u64::from(case.strict_errors);
    let store =
        loaded.authorizer.store(Some(&entity_file(&case.entities))).map_err(|e| format!("Cedar refuses: {e}"))?;
    let mut bundles = Vec::new();
    for &(form, split) in forms {
        let strict_errors = case.strict_errors;
        let options = Options { strict: loaded.strict, strict_errors, form, split, ..Options::default() };
        let parts = ztfast_compile::compile(loaded.model.clone(), &sources, &options, None, &mut |_, _, _| {});
        let parts = parts.map_err(|e| format!("{form:?}: {e}"))?;
        let bundle = Arc::new(Bundle::of(&parts).map_err(|e| e.to_string())?);
        let fallbacks = bundle.meta().stats.fallbacks;
        if loaded.strict && fallbacks > 0 {
            return Err(format!("{fallbacks} policies that strict validation accepts are left to Cedar"));
        }
        counts.fallbacks += fallbacks;
        bundles.push((form, bundle));
    }
    let (_, first) = bundles.first().ok_or("no form to compare")?;
    counts.programs.add(&Programs::of(first));
    let cedar = Arc::new(Cedar::of(first, loaded.authorizer));
    Ok(Built { cedar, store, bundles })
}

/// Return Cedar for the policies of a bundle that are left to it, if there are any.
fn fallback(cedar: &Arc<Cedar>, bundle: &Bundle) -> Option<Arc<Cedar>> {
    (bundle.meta().stats.fallbacks > 0).then(|| cedar.clone())
}

/// Apply a step to the list of entities.
fn change(entities: &mut Vec<serde_json::Value>, step: &crate::case::Step) {
    let gone = |entity: &serde_json::Value| {
        step.remove.contains(&entity["uid"]) || step.upsert.iter().any(|new| new["uid"] == entity["uid"])
    };
    entities.retain(|entity| !gone(entity));
    entities.extend(step.upsert.iter().cloned());
}

fn step_through(
    cedar: &Cedar,
    store: &CedarStore,
    desks: &mut [Desk],
    asks: &[Ask],
    counts: &mut Counts,
) -> Result<(), String> {
    for (number, ask) in asks.iter().enumerate() {
        let told = |what: String| format!("request {number}, {}: {what}", describe(ask));
        let answer = cedar.authorizer().authorize(&ask.principal, &ask.action, &ask.resource, &ask.context, store);
        let answer = answer.map_err(|e| told(e.to_string()))?;
        let answer =
            if cedar.bundle().meta().strict_errors { denied_by_errors(cedar.bundle(), answer) } else { answer };
        counts.requests += 1;
        counts.erred += u64::from(answer.erred);
        counts.allowed += u64::from(answer.allow);
        counts.forbidden += u64::from(!answer.allow && !answer.reasons.is_empty());
        counts.erring += u64::from(!answer.errors.is_empty());
        for desk in &mut *desks {
            desk.compare(ask, &answer, number, counts).map_err(|what| told(format!("{:?}: {what}", desk.form)))?;
        }
        if number % 16 == 0
            && let Some(desk) = desks.first()
        {
            explain(cedar, desk, ask, &answer).map_err(told)?;
            counts.explained += 1;
        }
    }
    crate::strangers::ask(desks, counts)?;
    for desk in desks {
        desk.compare_rows(counts).map_err(|what| format!("{:?}: decide_many: {what}", desk.form))?;
    }
    Ok(())
}

/// Return what Cedar's answer becomes where a forbid that errs denies.
fn denied_by_errors(bundle: &Bundle, answer: Answer) -> Answer {
    let errs = |id: &str| answer.errors.iter().any(|(erring, _)| **erring == *id);
    let policies: Vec<_> = (0_u32..).map_while(|number| bundle.policy(number)).collect();
    if !policies.iter().any(|policy| policy.forbid && errs(policy.id)) {
        return answer;
    }
    let satisfied = |id: &str| !answer.allow && answer.reasons.iter().any(|reason| **reason == *id);
    let deny = policies.iter().filter(|policy| policy.forbid && (errs(policy.id) || satisfied(policy.id)));
    Answer { allow: false, reasons: deny.map(|policy| policy.id.into()).collect(), erred: true, ..answer }
}

fn describe(ask: &Ask) -> String {
    format!("{} {} {} {}", ask.principal, ask.action, ask.resource, crate::texts::value_json(&ask.context))
}

/// Compare the explanation over the engine's store with Cedar's answer over Cedar's store.
fn explain(cedar: &Cedar, desk: &Desk, ask: &Ask, answer: &Answer) -> Result<(), String> {
    let (_, meta) = desk.action(&ask.action)?;
    let snapshot = desk.engine.snapshot();
    let explained = cedar.answer(&snapshot, &ask.principal, meta, &ask.resource, &ask.context);
    let explained = explained.map_err(|e| e.to_string())?;
    if explained != *answer {
        return Err(format!("explain says {explained:?}, Cedar {answer:?}"));
    }
    Ok(())
}
