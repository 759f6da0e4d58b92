// Times in the browser's own time zone, and buttons that copy. Pages are complete without it: it reads what they show,
// sends nothing, and writes text alone.
(() => {
  "use strict";
  const words = document.currentScript.dataset;
  const page = document.documentElement.lang;
  const locale = navigator.languages.find((tag) => tag.toLowerCase().split("-")[0] === page) || page;
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const city = /^(?!Etc\/)[A-Za-z]+\/(?:.+\/)?([^/]+)$/.exec(timeZone || "");
  if (timeZone) {
    const zone = city ? words.zone.replace("{}", city[1].replaceAll("_", " ")) : timeZone;
    const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
    for (const time of document.querySelectorAll("time")) time.textContent = `${format.format(new Date(time.dateTime))} (${zone})`;
  }
  for (const button of navigator.clipboard ? document.querySelectorAll("button[data-copy]") : []) {
    const from = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(from.value || from.textContent).then(() => { button.textContent = words.copied; }, () => {});
    });
  }
})();
