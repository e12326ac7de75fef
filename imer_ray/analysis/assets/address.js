// Budgets and pins stand behind the # of the page's address: a reload keeps them, and a link hands them on.

const address = {
  words: () => new URLSearchParams(location.hash.slice(1)),
  get: (name) => address.words().get(name),
  set(name, value) {
    const words = address.words();
    if (value === null || value === "") words.delete(name);
    else words.set(name, value);
    const hash = words.toString().replaceAll("%2C", ",");
    history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  },
};
