const root = document.getElementById("app");
if (root) root.textContent = "cannabis_ml";
export {};
