(() => {
  const rows = document.getElementById("rows");
  showTable(JSON.parse(rows.textContent), rows.dataset.site || null);
})();
