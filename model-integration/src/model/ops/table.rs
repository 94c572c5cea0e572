//! Functions of single values by table, where there are few values.

use std::sync::OnceLock;

use mxlab_kernels::format::FloatType;

/// Computes a function of every value, rounded to a type.
type Function = fn(&mut [f32], FloatType);

/// A function and, once it is asked for values of bf16, its results for all of them.
pub(super) struct RoundedTable {
    function: Function,
    results: OnceLock<Box<[u16; 1 << 16]>>,
}

impl RoundedTable {
    pub const fn new(function: Function) -> Self {
        Self {
            function,
            results: OnceLock::new(),
        }
    }

    /// `x = function(x)`, rounded to `dtype`.
    pub fn map(&self, x: &mut [f32], dtype: FloatType) {
        let joined = x.iter().fold(0, |joined, x| joined | x.to_bits());
        if dtype != FloatType::Bf16 || joined & 0xffff != 0 {
            return (self.function)(x, dtype);
        }
        let results = self.results.get_or_init(|| self.results());
        for x in x {
            let code = (x.to_bits() >> 16) as u16;
            *x = f32::from_bits(u32::from(results[usize::from(code)]) << 16);
        }
    }

    fn results(&self) -> Box<[u16; 1 << 16]> {
        let all = 0..=u16::MAX;
        let mut values: Vec<f32> = all
            .map(|code| f32::from_bits(u32::from(code) << 16))
            .collect();
        (self.function)(&mut values, FloatType::Bf16);
        let mut results = Box::new([0; 1 << 16]);
        for (result, value) in results.iter_mut().zip(values) {
            *result = (value.to_bits() >> 16) as u16;
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: &mut [f32], dtype: FloatType) {
        x.iter_mut().for_each(|x| *x = dtype.round(*x * *x));
    }

    #[test]
    fn a_table_has_the_results_of_its_function() {
        static SQUARE: RoundedTable = RoundedTable::new(square);
        let all = (0..=u16::MAX).map(|code| f32::from_bits(u32::from(code) << 16));
        let all: Vec<f32> = all.collect();
        for dtype in [FloatType::F32, FloatType::Bf16, FloatType::F16] {
            for more in [None, Some(1.0 + f32::EPSILON)] {
                let values: Vec<f32> = all.iter().copied().chain(more).collect();
                let (mut mapped, mut law) = (values.clone(), values);
                SQUARE.map(&mut mapped, dtype);
                square(&mut law, dtype);
                let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&mapped), bits(&law), "{dtype}, {more:?}");
            }
        }
    }
}
