//! `--images DIR`: machine code from `mxlab bundle`, for commands that run kernels.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use mxlab_harness::device::{Device, DeviceChoice, DeviceOptions, Images, Loads};

/// The images for a device.
#[derive(Args, Clone, Debug, Default)]
pub struct ImagesArgs {
    /// Load machine code from this folder of `mxlab bundle`; the driver compiles the other kernels
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
}

impl ImagesArgs {
    /// The images, with every file checked.
    ///
    /// # Errors
    /// If the folder holds something else, or a file was changed.
    pub fn open(&self) -> Result<Option<Arc<Images>>> {
        let images = self.images.as_deref().map(Images::open).transpose();
        Ok(images.context("--images")?.map(Arc::new))
    }

    /// The device of `--device`, with these images.
    ///
    /// # Errors
    /// If the images or the device cannot be used.
    pub fn open_device(&self, choice: DeviceChoice) -> Result<Device> {
        let options = DeviceOptions {
            images: self.open()?,
            ..DeviceOptions::default()
        };
        let device = Device::open_with(choice, options);
        let device = device.with_context(|| format!("--device {choice}"))?;
        self.warn_unfit(&device);
        Ok(device)
    }

    /// Prints how many kernels came from images, if any are given, to standard error.
    pub fn report<'l>(&self, loads: impl IntoIterator<Item = &'l Loads>) {
        if self.images.is_some() {
            for loads in loads {
                eprintln!("kernels: {loads}");
            }
        }
    }

    /// Prints why the device can use none of the images, if so, before time is spent.
    pub fn warn_unfit(&self, device: &Device) {
        if let Some(images) = device.images()
            && let Err(why) = images.fit(device.properties())
        {
            let version = |version: u32| format!("{}.{}", version / 1000, version % 1000 / 10);
            let properties = device.properties();
            let driver = properties
                .driver_version
                .map_or("unknown".to_owned(), version);
            eprintln!(
                "--images: {why}: `{}` is for {} and CUDA {}, the device is sm_{} with a driver of \
                 CUDA {driver}; its driver compiles every kernel. `mxlab bundle` makes images of \
                 another chip",
                images.folder().display(),
                images.chip(),
                version(images.cuda()),
                properties.sm,
            );
        }
    }
}
