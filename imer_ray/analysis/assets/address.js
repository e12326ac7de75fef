// Budgets and pins stand behind the # of the page's address: a reload keeps them, and a link hands them on.

const address = {
  words: new URLSearchParams(location.hash.slice(1)),
  get: (name) => address.words.get(name),
  set(name, value) {
    if (value === null || value === "") address.words.delete(name);
    else address.words.set(name, value);
    clearTimeout(address.writing); // browsers refuse a page that writes its address a hundred times in a row
    address.writing = setTimeout(address.write, 250);
  },
  write() {
    const hash = address.words.toString().replaceAll("%2C", ",");
    history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  },
};
addEventListener("hashchange", () => location.reload());
