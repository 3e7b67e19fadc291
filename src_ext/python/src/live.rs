//! Live attributes as a context's record, for Cedar to explain a session's decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_bundle::{ActionMeta, Node, ValueType};
use ztfast_cedar::LIVE;
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_engine::LiveValues;

/// Add the live attributes to a context, if the action has them.
pub(crate) fn add(context: Datum, live: Option<&LiveValues>, action: &ActionMeta) -> Datum {
    let field = action.context.iter().find(|field| field.name == LIVE).filter(|_| action.live.is_some());
    match (context, live, field.map(|field| &field.node)) {
        (Datum::Record(mut context), Some(live), Some(Node::Record { fields, .. })) => {
            let own = fields.iter().filter_map(|field| {
                let Node::Leaf { ty, .. } = &field.node else { return None };
                Some((Arc::from(field.name.as_str()), value(live, &field.name, ty)?))
            });
            context.insert(Arc::from(LIVE), Datum::Record(own.collect::<BTreeMap<_, _>>()));
            Datum::Record(context)
        }
        (context, ..) => context,
    }
}

/// Return the value of a live attribute; `None` if the session has none.
fn value(live: &LiveValues, name: &str, ty: &ValueType) -> Option<Datum> {
    let text = |text: &String| Datum::String(Arc::from(text.as_str()));
    Some(match name {
        "authAge" => Datum::Duration(live.auth_age_ms),
        "factors" => Datum::Set(live.factors.iter().map(text).collect()),
        "assurance" => Datum::Long(live.assurance),
        "risk" => Datum::Long(live.risk),
        "market" => Datum::String(Arc::from(live.market.name())),
        "channel" => text(&live.channel),
        "time" => Datum::Datetime(live.time_ms),
        "region" => text(live.region.as_ref()?),
        "onBehalfOf" => match ty {
            ValueType::Entity(_) => live.on_behalf_of.as_ref().map(|(ty, id)| Datum::Entity(Uid::new(&**ty, &**id)))?,
            _ => text(&live.on_behalf_of_text()?),
        },
        _ => return None,
    })
}
