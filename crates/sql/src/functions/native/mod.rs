//! Native functions: class names of well-known Java functions that resolve to functions of ours,
//! so that scripts that create them run unchanged.

mod count_char;

use super::FunctionDef;

/// A class and the function that stands for it.
#[derive(Debug)]
pub struct NativeFunction {
    /// The class of `CREATE FUNCTION … AS 'class'`.
    pub class: &'static str,
    pub function: &'static FunctionDef,
}

/// The one list.
pub static LIST: &[NativeFunction] = &[NativeFunction {
    class: "com.github.nexmark.flink.udf.CountChar",
    function: &count_char::COUNT_CHAR,
}];

/// The function that stands for a class.
pub fn find(class: &str) -> Option<&'static NativeFunction> {
    LIST.iter().find(|f| f.class == class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_listed_once_and_documented() {
        for native in LIST {
            assert_eq!(
                LIST.iter().filter(|f| f.class == native.class).count(),
                1,
                "{} is listed twice",
                native.class
            );
            assert!(native.function.doc.ends_with('.'));
            assert!(!native.function.syntax.is_empty());
        }
    }
}
