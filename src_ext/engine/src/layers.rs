//! Looks up the cells of a layer: maps classes to the layer's classes, and a pair of those to a cell.

use ztfast_bundle::{Bundle, ClassPair, Form, LayerRec};
use ztfast_codes::Code;
use ztfast_pages::prefetch;

/// Map two classes of the bundle to the layer's classes.
#[inline(always)]
#[allow(clippy::inline_always)] // the hot path needs the result in registers
pub(crate) fn layer_classes(bundle: &Bundle, layer: &LayerRec, classes: ClassPair) -> Result<(u32, u32), Code> {
    let map = bundle.maps();
    let principal = map.get(layer.principal_map as usize + classes.principal as usize);
    let resource = map.get(layer.resource_map as usize + classes.resource as usize);
    match (principal, resource) {
        (Some(&principal), Some(&resource)) if principal != 0 && resource != 0 => Ok((principal, resource)),
        (Some(_), Some(_)) => Err(Code::NotApplicable),
        _ => Err(Code::Corrupt),
    }
}

/// Look up the cell of two classes, in a layer that has cells.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
pub(crate) fn cell(bundle: &Bundle, layer: &LayerRec, principal: u32, resource: u32) -> Result<u32, Code> {
    let (principal, resource) = (principal as usize, resource as usize);
    let found = if layer.form == Form::Dense as u32 {
        bundle.table().get(layer.table as usize + principal * layer.resources as usize + resource).copied()
    } else {
        row_cell(bundle, layer, principal, resource)
    };
    found.ok_or(Code::Corrupt)
}

/// Prefetch what [`cell`] reads first.
#[inline]
pub(crate) fn prefetch_cell(bundle: &Bundle, layer: &LayerRec, (principal, resource): (u32, u32)) {
    let (principal, resource) = (principal as usize, resource as usize);
    if layer.form == Form::Dense as u32 {
        prefetch(bundle.table(), layer.table as usize + principal * layer.resources as usize + resource);
    } else if let Some(row) = bundle.rows().get(layer.table as usize + principal) {
        prefetch(bundle.bitmaps(), row.bitmaps as usize + resource / 64);
    }
}

#[inline(never)]
fn row_cell(bundle: &Bundle, layer: &LayerRec, principal: usize, resource: usize) -> Option<u32> {
    let row = bundle.rows().get(layer.table as usize + principal)?;
    let bitmap = bundle.bitmaps().get(row.bitmaps as usize + resource / 64)?;
    let bit = 1_u64 << (resource % 64);
    if bitmap.differ & bit == 0 {
        return Some(row.rule);
    }
    let before = (bitmap.differ & (bit - 1)).count_ones() as usize;
    bundle.table().get(usize::try_from(bitmap.cells).ok()?.checked_add(before)?).copied()
}
