globalThis.forecastAssets = { files: {}, add(number, records) { this.files[number] = records; } };
