document.querySelector("#app").textContent = "Postrider";
