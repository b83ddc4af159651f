// Types of what the page uses of preact.js (htm 3.1.1 with Preact and its hooks).
export type Node = any;
export type Ref<T> = { current: T };
export type Update<T> = (value: T | ((before: T) => T)) => void;
export function html(parts: TemplateStringsArray, ...values: any[]): Node;
export function render(view: Node, into: Element): void;
export function useState<T>(start: T | (() => T)): [T, Update<T>];
export function useRef<T>(start: T): Ref<T>;
export function useLayoutEffect(work: () => void | (() => void), on?: any[]): void;
export function useEffect(work: () => void | (() => void), on?: any[]): void;
export function useMemo<T>(make: () => T, on: any[]): T;
export function useCallback<T>(work: T, on: any[]): T;
export function useErrorBoundary(caught: (error: any) => void): [any, () => void];
export class Component { props: any; constructor(props?: any); setState(part: any): void; }
