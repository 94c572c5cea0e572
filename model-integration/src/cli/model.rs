//! The flags that choose a model and its engine.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use mxlab_harness::device::{Device, DeviceChoice};
use mxlab_kernels::cpu::{Isa, Path};
use mxlab_kernels::format::FloatType;

use super::images::ImagesArgs;
use super::output::Usage;
use crate::checkpoint::{Checkpoint, SpecialTokens, hub, synthetic};
use crate::embedded;
use crate::engine::Engine;
use crate::model::cpu::CpuEngine;
use crate::model::device::DeviceEngine;
use crate::model::device::input::Operands;
use crate::model::device::plan::Storage;

/// Help for `--model`.
fn model_help() -> String {
    format!(
        "Model directory, GGUF file, hub name (`org/name`, `org/name@revision`), `embedded`, or \
         `{}NAME[:SEED]`, random weights in the shape of {}",
        synthetic::PREFIX,
        synthetic::names()
    )
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model
    #[arg(long, help = model_help(), value_name = "DIR|FILE|NAME", default_value = "embedded")]
    pub model: String,
    /// Where tokenizer_config.json and tokenizer.json disagree about BOS or EOS, the one to follow
    #[arg(long, value_enum, value_name = "RULE", default_value_t)]
    pub special_tokens: SpecialTokens,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// How a model computes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct EngineArgs {
    /// Type of the unquantised arithmetic: auto (the checkpoint's), float32, bfloat16, float16
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub dtype: Dtype,
    /// Device: cpu, or for PTX kernels auto, cuda, cuda:N or emulator
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
    /// Keep quantised values as dequantised bf16: the same answers without packed kernels. PTX
    /// kernels only
    #[arg(long)]
    pub fake_quantize: bool,
    /// Operands of the tensor cores. PTX kernels only
    #[arg(long, value_name = "TYPE", value_enum, default_value = "bf16")]
    pub operands: Operands,
    /// Multiply prompts with AMX tiles where weights and activations are bfloat16 values. Sums then
    /// have another order, and single tokens are no faster. --device cpu only
    #[arg(long)]
    pub amx: bool,
    /// Compute threads [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub images: ImagesArgs,
}

/// A type; `None` for the checkpoint's.
#[derive(Clone, Copy, Debug)]
pub struct Dtype(pub Option<FloatType>);

/// A type; `None` for that of the arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxDtype(Option<FloatType>);

impl SoftmaxDtype {
    /// f32, whatever the type of the arithmetic.
    pub const F32: Self = Self(Some(FloatType::F32));
}

impl std::str::FromStr for Dtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        or_word(name, "auto").map(Self)
    }
}

impl std::str::FromStr for SoftmaxDtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        or_word(name, "model").map(Self)
    }
}

fn or_word(name: &str, word: &str) -> Result<Option<FloatType>, String> {
    if name == word {
        return Ok(None);
    }
    let dtype = name.parse::<FloatType>();
    dtype
        .map(Some)
        .map_err(|error| format!("{error}, or `{word}`"))
}

/// A number of threads within sensible limits.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one thread is needed; give 1 to 4096".into()),
        Ok(threads) if threads <= 4096 => Ok(threads),
        _ => Err("not a number of threads; give 1 to 4096".into()),
    }
}

impl ModelArgs {
    /// Checks that a model given as a path exists.
    pub fn check(&self) -> Result<()> {
        let name = &self.model;
        if name != "embedded" && !name.starts_with(synthetic::PREFIX) {
            hub::local(name)?;
        }
        Ok(())
    }

    /// Opens the model on its device without loading it. Log-softmax is taken in `softmax_dtype`.
    pub fn open(&self, softmax_dtype: SoftmaxDtype) -> Result<Box<dyn Engine>> {
        self.engine.use_threads()?;
        let checkpoint = open_checkpoint(&self.model)?;
        let checkpoint = checkpoint.with_special_tokens(self.special_tokens);
        self.engine.open(checkpoint, softmax_dtype)
    }
}

/// Limits the threads of this process, once, if a number is given.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    if let Some(threads) = threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().context("--threads")?;
    }
    Ok(())
}

/// Opens the checkpoint that `--model` names.
pub fn open_checkpoint(name: &str) -> Result<Checkpoint> {
    Ok(match name {
        "embedded" => embedded::checkpoint()?,
        name => match name.strip_prefix(synthetic::PREFIX) {
            Some(name) => synthetic::open(name)?,
            None => Checkpoint::open(&hub::resolve(name)?)?,
        },
    })
}

/// The directory of the model that `--model` names; `None` if it is a GGUF file or in no file. For
/// a hub name, those of `files` that the repository has are downloaded.
pub fn model_directory(name: &str, files: &[&str]) -> Result<Option<PathBuf>> {
    if name == "embedded" || name.starts_with(synthetic::PREFIX) {
        return Ok(None);
    }
    let path = hub::resolve(name)?;
    if !path.is_dir() {
        return Ok(None);
    }
    hub::download_beside(name, &path, files)?;
    Ok(Some(path))
}

fn with_amx(engine: CpuEngine, dtype: FloatType) -> Result<CpuEngine> {
    if dtype != FloatType::Bf16 {
        let message = format!(
            "--amx: the tiles are bfloat16, but the model computes in {dtype}; drop --amx, \
             or add --dtype bfloat16"
        );
        return Err(Usage(message).into());
    }
    ensure!(
        Path::Amx.is_available(),
        "--amx: this CPU has no bfloat16 AMX tiles, or the system does not enable them; drop --amx"
    );
    Ok(engine.with_amx())
}

impl EngineArgs {
    /// Limits the threads of this process, once.
    pub fn use_threads(&self) -> Result<()> {
        use_threads(self.threads)
    }

    /// The flags of commands that read text on the CPU; `dtype` comes before its own.
    pub fn of_text(&self, dtype: Option<FloatType>) -> Vec<String> {
        let flags = [
            ("--dtype", dtype.or(self.dtype.0).map(|x| x.to_string())),
            ("--threads", self.threads.map(|x| x.to_string())),
            (
                "--isa",
                (!Isa::may_extend()).then(|| Isa::best().to_string()),
            ),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
        given.flatten().collect()
    }

    /// These arguments, and `--isa`, for another process of this program.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: Option<OsString>| {
            arguments.push(flag.into());
            arguments.extend(value);
        };
        add("--device", Some(self.device.to_string().into()));
        if let Some(dtype) = self.dtype.0 {
            add("--dtype", Some(dtype.to_string().into()));
        }
        if let Some(operands) = self.operands.to_possible_value() {
            add("--operands", Some(operands.get_name().into()));
        }
        if self.fake_quantize {
            add("--fake-quantize", None);
        }
        if self.amx {
            add("--amx", None);
        }
        if let Some(threads) = self.threads {
            add("--threads", Some(threads.to_string().into()));
        }
        if let Some(images) = &self.images.images {
            add("--images", Some(images.into()));
        }
        if !Isa::may_extend() {
            add("--isa", Some(Isa::best().to_string().into()));
        }
        arguments
    }

    /// The same arguments with a type of arithmetic.
    ///
    /// # Errors
    /// If `--dtype` names one already.
    pub fn with_dtype(&self, dtype: FloatType) -> Result<Self> {
        if let Some(given) = self.dtype.0 {
            let message = format!("--dtype {given}: the study names types itself; drop --dtype");
            return Err(Usage(message).into());
        }
        Ok(Self {
            dtype: Dtype(Some(dtype)),
            ..self.clone()
        })
    }

    /// Opens a checkpoint on the device. Log-softmax is taken in `softmax_dtype`.
    pub fn open(
        &self,
        checkpoint: Checkpoint,
        softmax_dtype: SoftmaxDtype,
    ) -> Result<Box<dyn Engine>> {
        self.open_noting(checkpoint, softmax_dtype, &|_| {})
    }

    /// As [`EngineArgs::open`]; `opened` is called with the device, if there is one.
    pub fn open_noting(
        &self,
        checkpoint: Checkpoint,
        softmax_dtype: SoftmaxDtype,
        opened: &dyn Fn(&Device),
    ) -> Result<Box<dyn Engine>> {
        let own = checkpoint.config().dtype;
        if self.device == DeviceChoice::Cpu {
            if self.operands == Operands::Bytes {
                let message =
                    "--operands 8-bit needs PTX kernels; add --device cuda or --device emulator";
                return Err(Usage(message.to_owned()).into());
            }
            if self.fake_quantize {
                let message = "--fake-quantize needs PTX kernels: the CPU engine always \
                    dequantises; drop it, or add --device cuda or --device emulator";
                return Err(Usage(message.to_owned()).into());
            }
            if self.images.images.is_some() {
                let message = "--images needs PTX kernels; add --device cuda";
                return Err(Usage(message.to_owned()).into());
            }
            let dtype = self.dtype.0.unwrap_or(own);
            let softmax_dtype = softmax_dtype.0.unwrap_or(dtype);
            let engine = CpuEngine::new(checkpoint, Some(dtype), Some(softmax_dtype))?;
            return Ok(Box::new(match self.amx {
                true => with_amx(engine, dtype)?,
                false => engine,
            }));
        }
        if self.amx {
            return Err(Usage("--amx needs --device cpu".to_owned()).into());
        }
        if self.fake_quantize && self.operands == Operands::Bytes {
            let message = "--fake-quantize keeps bf16, and --operands 8-bit needs packed weights; \
                drop one of them";
            return Err(Usage(message.to_owned()).into());
        }
        let device = self.device;
        match self.dtype.0 {
            None if own != FloatType::Bf16 => {
                eprintln!("the model is {own}; --device {device} computes in bfloat16");
            }
            None | Some(FloatType::Bf16) => {}
            Some(dtype) => {
                let message = format!("--dtype {dtype}: --device {device} computes in bfloat16");
                return Err(Usage(message).into());
            }
        }
        let softmax_dtype = softmax_dtype.0.unwrap_or(FloatType::Bf16);
        let device = self.images.open_device(device)?;
        opened(&device);
        Ok(Box::new(DeviceEngine::new(
            device,
            checkpoint,
            softmax_dtype,
            match self.fake_quantize {
                true => Storage::Fake,
                false => Storage::Packed(self.operands),
            },
        )?))
    }
}
