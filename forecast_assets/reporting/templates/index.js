if (globalThis.forecastAssets && forecastAssets.rows) showTable(forecastAssets.rows, "");
