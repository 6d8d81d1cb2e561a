//! Values made of values, and access to their parts.

mod access;
mod construct;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &construct::ARRAY,
    &construct::MAP,
    &construct::ROW,
    &access::ITEM,
];

#[cfg(test)]
mod tests {
    use crate::functions::testing::values::*;
    use crate::functions::testing::{call, show, shown};
    use datafusion_common::ScalarValue;
    use flott_core::types::LogicalType as T;

    fn built(name: &str, arguments: &[(ScalarValue, T)]) -> (ScalarValue, T) {
        crate::functions::testing::call_value(name, arguments).expect("a value")
    }

    #[test]
    fn values_are_built_and_shown() {
        assert_eq!(show("ARRAY", &[int(1), null(), bigint(3)]), "[1, NULL, 3]");
        assert_eq!(show("ROW", &[int(1), string("a")]), "(1, a)");
        assert_eq!(
            show("MAP", &[string("k"), int(1), string("l"), int(2)]),
            "{k=1, l=2}"
        );
        assert_eq!(show("MAP", &[string("k")]), "INVALID_ARGUMENT_COUNT");
        let (array, ty) = call("ARRAY", &[int(1)]).expect("an array");
        assert_eq!(
            (array.as_str(), ty.to_string().as_str()),
            ("[1]", "ARRAY<INT NOT NULL> NOT NULL")
        );
    }

    #[test]
    fn parts_are_found_by_position_and_key() {
        let array = built("ARRAY", &[int(1), int(2)]);
        assert_eq!(show("ITEM", &[array.clone(), int(2)]), "2");
        assert_eq!(show("ITEM", &[array, int(4)]), "-1");
        let nullable = built("ARRAY", &[int(1), null()]);
        assert_eq!(show("ITEM", &[nullable, int(4)]), "NULL");
        let map = built("MAP", &[string("a"), int(1)]);
        assert_eq!(show("ITEM", &[map.clone(), string("a")]), "1");
        assert_eq!(show("ITEM", &[map.clone(), string("z")]), "-1");
        assert_eq!(shown(&map.0, &map.1), "{a=1}");
    }
}
