//! Names that are nearly what was written.

/// How far what is written may be from what was meant.
pub const MAX_EDITS: u8 = 2;

/// Whether so few bytes to insert, delete, replace or swap with their neighbour make one name the
/// other, upper case or lower.
pub fn is_near(written: &str, name: &str, edits: u8) -> bool {
    is_within(written.as_bytes(), name.as_bytes(), edits)
}

fn is_within(left: &[u8], right: &[u8], edits: u8) -> bool {
    let ([first, left_rest @ ..], [other, right_rest @ ..]) = (left, right) else {
        return left.len().max(right.len()) <= usize::from(edits);
    };
    let is_same = |one: &u8, other: &u8| one.eq_ignore_ascii_case(other);
    if is_same(first, other) && is_within(left_rest, right_rest, edits) {
        return true;
    }
    let Some(fewer) = edits.checked_sub(1) else {
        return false;
    };
    let swapped = match (left_rest, right_rest) {
        ([second, left @ ..], [another, right @ ..]) => {
            is_same(first, another) && is_same(second, other) && is_within(left, right, fewer)
        }
        _ => false,
    };
    swapped
        || is_within(left_rest, right_rest, fewer)
        || is_within(left, right_rest, fewer)
        || is_within(left_rest, right, fewer)
}
