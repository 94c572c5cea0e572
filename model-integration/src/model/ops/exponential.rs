//! The exponential function in a form that vectorises.

pub use mxlab_kernels::reference::exponential::exp;

#[cfg(test)]
mod tests {
    use multiversion::multiversion;

    use super::*;

    #[multiversion(targets = "simd")]
    fn exp_all(values: &mut [f32]) {
        for x in values {
            *x = exp(*x);
        }
    }

    #[test]
    fn is_the_nearest_f32_on_every_path() {
        let step = 251;
        let inputs: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
        let mut vectors = inputs.clone();
        exp_all(&mut vectors);
        let mut inexact = 0;
        for (&x, vector) in inputs.iter().zip(vectors) {
            let scalar = exp(x);
            assert_eq!(scalar.to_bits(), vector.to_bits(), "{x:e}");
            let law = f64::from(x).exp() as f32;
            if law.is_nan() {
                assert!(scalar.is_nan(), "{x:e}");
            } else {
                let apart = scalar.to_bits().abs_diff(law.to_bits());
                assert!(apart <= 1, "{x:e}: {scalar:e}, not {law:e}");
                inexact += apart;
            }
        }
        assert!(inexact as usize <= inputs.len() >> 17, "{inexact} inexact");
    }

    #[test]
    fn keeps_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
