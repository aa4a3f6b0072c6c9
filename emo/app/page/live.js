export function setPortrait() {}
